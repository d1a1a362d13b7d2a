"""Current-based leaky integrate-and-fire."""

from snnrl.ops.clif.naive import CLIFConstants, CLIFState, clif

__all__ = ["CLIFConstants", "CLIFState", "clif"]
