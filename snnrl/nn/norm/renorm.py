"""Batch renormalisation."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from snnrl.nn.norm.base import Affine
from snnrl.nn.norm.batch import PooledBatchNorm, beside
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import AtLeast

LARGEST_RATIO, LARGEST_SHIFT = 3.0, 5.0


@register("norm", "renorm", momentum=0.01, eps=1e-3)
class BatchRenorm(PooledBatchNorm):
    """``y = gamma ((x - mean) / sd r + d) + beta``: batch statistics, corrected to the moving ones.

    In a pass that learns ``r = sd / moving sd``, between 1/3 and 3, and ``d = (mean - moving mean)
    / moving sd``, between -5 and 5, are constants: the value is that of the moving statistics as
    long as they are within their bounds, the gradient that of the batch's. The first ``warmup``
    such passes are plain batch normalisation. Other passes use the moving statistics.

    Source: batch renormalisation (Ioffe 2017, arXiv 1702.03275), bounds, momentum, eps and warm-up
    as CrossQ has them (Bhatt et al., ICLR 2024, arXiv 1902.05605).

    :param warmup: training passes of plain batch normalisation at the start
    """

    passes: Tensor

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        warmup: Annotated[int, AtLeast(0)] = 100_000,
        **shared: Any,
    ):
        super().__init__(shape, threshold, **shared)
        self.warmup = warmup
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def corrections(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Return r and d ``[N]`` of a batch with these statistics, without gradients."""
        with torch.no_grad():
            moving_sd = torch.sqrt(self.moving_var + self.eps)
            r = (torch.sqrt(var + self.eps) / moving_sd).clamp(1 / LARGEST_RATIO, LARGEST_RATIO)
            d = ((mean - self.moving_mean) / moving_sd).clamp(-LARGEST_SHIFT, LARGEST_SHIFT)
            # A choice by values, which a recorded CUDA graph makes anew in each pass.
            plain = self.passes < self.warmup
            return torch.where(plain, 1.0, r), torch.where(plain, 0.0, d)

    def normalise_by_batch(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        r, d = self.corrections(mean, var)
        return self.normalised(x, mean, var) * beside(r, x) + beside(d, x)

    @torch.no_grad()
    def saw(self, mean: Tensor, var: Tensor, x: Tensor) -> None:
        super().saw(mean, var, x)
        self.passes += 1

    # Passes that do not learn are those of the base.
    constant = PooledBatchNorm.as_constant

    def fused(self, x: Tensor) -> Affine | None:
        affine = super().fused(x)
        if affine is None or affine.statistics is not None:
            return affine
        r, d = self.corrections(*self.statistics(x.detach()))
        return affine._replace(gamma=self.gamma * r, beta=self.gamma * d + self.beta)
