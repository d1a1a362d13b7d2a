"""Leaky integrate-and-fire with a learned decay."""

from snnrl.ops.plif.naive import PLIFConstants, plif

__all__ = ["PLIFConstants", "plif"]
