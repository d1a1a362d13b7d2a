"""Spikes forward, surrogate gradients backward: a file for each language that computes them."""

from snnrl.ops.surrogate.naive import DERIVATIVES, LEARN_SCALES, Firing, Surrogate, spike

__all__ = ["DERIVATIVES", "LEARN_SCALES", "Firing", "Surrogate", "spike"]
