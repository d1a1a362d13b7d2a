"""Current-based leaky integrate-and-fire."""

from snnrl.ops.clif.naive import CLIFState, clif

__all__ = ["CLIFState", "clif"]
