"""Temporal effective batch normalisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape


@register("norm", "tebn")
class TemporalEffectiveBatchNorm(PooledBatchNorm):
    """``y[t] = p[t] (gamma (x[t] - mean) / sqrt(var + eps) + beta)``: a weight for each time step.

    ``p`` starts at 1, where it is :class:`PooledBatchNorm`, whose statistics, gamma and beta it
    has.

    Source: TEBN (Duan et al., NeurIPS 2022), as SpikingJelly's ``TemporalEffectiveBatchNorm``.
    """

    needs = "time steps"

    def __init__(self, shape: LayerShape, threshold: float, **shared: Any):
        super().__init__(shape, threshold, **shared)
        self.p = nn.Parameter(torch.ones(shape.time_steps))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        p = self.p.unsqueeze(1)
        return p * self.gamma, p * self.beta

    constant, fused = PooledBatchNorm.as_constant, PooledBatchNorm.as_fused
