"""Leaky integrate-and-fire with an adaptive threshold."""

from snnrl.ops.alif.naive import ALIFConstants, ALIFState, alif

__all__ = ["ALIFConstants", "ALIFState", "alif"]
