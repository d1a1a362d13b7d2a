"""Batch normalisation through time."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnrl.nn.norm.batch import BatchNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above


@register("norm", "bntt", eps=1e-4)
class BatchNormThroughTime(BatchNorm):
    """``y[t] = gamma[t] (x[t] - mean[t]) / sqrt(var[t] + eps)``: every step has its own.

    Statistics of a step are over batch and, for images, space; there is no beta, and no bias in the
    linear map in front. gamma starts at the firing threshold, as it starts at 1 where the threshold
    is 1 in the published code. Source: BNTT (Kim & Panda 2020, arXiv 2010.01729).
    """

    linear_bias = False
    needs = "time steps"

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        effective_n: Annotated[float, Above(0)] | None = None,
        **shared: Any,
    ):
        # Not auto: a step by itself has no autocorrelation over steps.
        super().__init__(shape, threshold, effective_n=effective_n, **shared)
        self.gamma = nn.Parameter(torch.full(self.statistics_shape(), threshold))

    def statistics_shape(self) -> tuple[int, ...]:
        return (self.shape.time_steps, self.shape.features)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(x, dim=(1, *range(3, x.dim())), correction=0)
        return mean, var

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        return self.gamma, torch.zeros_like(self.gamma)

    constant, fused = BatchNorm.as_constant, BatchNorm.as_fused
