"""Leaky integrate-and-fire."""

from snnrl.ops.lif.naive import LIFConstants, LIFState, lif

__all__ = ["LIFConstants", "LIFState", "lif"]
