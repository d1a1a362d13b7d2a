"""Descriptions of confidence-adaptive updates of moving statistics, for the fused kernels."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor

Variant = Literal["published", "corrected", "kalman"]


class ConfidenceRule(NamedTuple):
    """A rule whose equations are those of :mod:`snnrl.nn.norm.confidence`.

    :param variant: what the prior variance P is
    :param smoothing: q, how slowly the smoothed squares G follow
    :param n: effective sample size of a batch
    :param process_noise: ``Q / R`` of the kalman variant; ``None``: what G holds beyond the rest
    """

    variant: Variant
    smoothing: float
    n: float
    process_noise: float | None = None


class MovedLayer(NamedTuple):
    """What a rule changes in place, and the batch's statistics: float32, of one shape.

    :param moving: mean and variance
    :param prior: smoothed squares G of both
    :param gain: K of both
    :param posterior: of the kalman variant: P of both, and whether there was a batch (bool,
        ``[]``); empty otherwise
    :param batch: mean and variance of the batch
    """

    moving: tuple[Tensor, Tensor]
    prior: tuple[Tensor, Tensor]
    gain: tuple[Tensor, Tensor]
    posterior: tuple[Tensor, ...]
    batch: tuple[Tensor, Tensor]

    def changed(self) -> tuple[Tensor, ...]:
        """Return the tensors that the rule changes."""
        return (*self.moving, *self.prior, *self.gain, *self.posterior)
