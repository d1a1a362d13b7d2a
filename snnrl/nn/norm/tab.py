"""Temporal accumulated batch normalisation."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnrl.nn.norm.base import Affine
from snnrl.nn.norm.batch import BatchNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above


@register("norm", "tab")
class TemporalAccumulatedBatchNorm(BatchNorm):
    """``y[t] = p[t]^2 (gamma[t] (x[t] - mean[t]) / sqrt(var[t] + eps) + beta[t])``.

    Mean and variance of step t are those of the steps 1 to t, over batch and, for images, space.
    ``p`` starts at 1, gamma and beta at half the firing threshold, as those of the package's other
    batch normalisations.

    Source: TAB (Jiang et al., ICLR 2024), with ``p`` squared as in the published ``TAB_Layer``.
    """

    needs = "time steps"

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        effective_n: Annotated[float, Above(0)] | None = None,
        **shared: Any,
    ):
        # Not auto: the steps of one input have statistics of their own.
        super().__init__(shape, threshold, effective_n=effective_n, **shared)
        self.gamma = nn.Parameter(torch.full(self.statistics_shape(), threshold / 2))
        self.beta = nn.Parameter(torch.full(self.statistics_shape(), threshold / 2))
        self.p = nn.Parameter(torch.ones(shape.time_steps))

    def statistics_shape(self) -> tuple[int, ...]:
        return (self.shape.time_steps, self.shape.features)

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(x, dim=(1, *range(3, x.dim())), correction=0)
        # The variance of equally large groups: the mean of theirs, and that of their means.
        steps = torch.arange(1, len(x) + 1, device=x.device, dtype=x.dtype).unsqueeze(1)
        so_far = mean.cumsum(0) / steps
        between = _variance_so_far(mean, so_far)
        return so_far, var.cumsum(0) / steps + between

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        squared = self.p.unsqueeze(1) ** 2
        return squared * self.gamma, squared * self.beta

    constant = BatchNorm.as_constant

    def fused(self, x: Tensor) -> Affine | None:
        # Operators know no statistics of several steps so far.
        return self.as_fused(x) if self.uses_moving() else None


def _variance_so_far(values: Tensor, mean: Tensor) -> Tensor:
    """Return the biased variance of ``values[:t + 1]`` for each t, ``[T, N]``.

    :param mean: theirs
    """
    seen = torch.ones(len(values), len(values), device=values.device, dtype=values.dtype).tril()
    squares = (values.unsqueeze(0) - mean.unsqueeze(1)) ** 2 * seen.unsqueeze(2)
    return squares.sum(1) / seen.sum(1, keepdim=True)
