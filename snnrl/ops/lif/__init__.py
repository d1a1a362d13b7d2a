"""Leaky integrate-and-fire."""

from snnrl.ops.lif.naive import LIFState, lif

__all__ = ["LIFState", "lif"]
