"""Batch normalisation whose statistics are pooled over time and batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.nn.norm.accumulation import Accumulation


class PooledBatchNorm(nn.Module):
    """``y = gamma (x - mean) / sqrt(var + eps) + beta``, one mean and variance per feature.

    Statistics are pooled over time and batch, the variance is the biased one. Which are used:

    - ``training``: those of the batch (gradients flow through them), and the update rule moves
      ``moving_mean`` and ``moving_var``;
    - ``eval``: the moving ones, which do not change;
    - inside :func:`snnrl.nn.norm.recalibrating`: those accumulated so far.

    Source: CaRe-BN (arXiv 2509.23791); gamma and beta start at half the firing threshold.

    :param features: number of features N
    :param update: rule that moves the moving statistics; called with the batch's statistics
    :param affine_start: first value of gamma and beta
    :param eps: added to the variance
    """

    moving_mean: Tensor
    moving_var: Tensor

    def __init__(self, features: int, update: nn.Module, affine_start: float, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.update = update
        self.gamma = nn.Parameter(torch.full((features,), affine_start))
        self.beta = nn.Parameter(torch.full((features,), affine_start))
        self.register_buffer("moving_mean", torch.zeros(features))
        self.register_buffer("moving_var", torch.ones(features))
        self.accumulation: Accumulation | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x[T, B, N]``."""
        mean, var = self._statistics_for(x)
        return (x - mean) / torch.sqrt(var + self.eps) * self.gamma + self.beta

    def _statistics_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.accumulation is not None:
            return self.accumulation.add(x)
        if not self.training:
            return self.moving_mean, self.moving_var
        mean, var = pooled_statistics(x)
        with torch.no_grad():
            self.update(self.moving_mean, self.moving_var, mean, var, x.shape[1])
        return mean, var


def pooled_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of ``x[T, B, N]`` per feature, each ``[N]``."""
    var, mean = torch.var_mean(x, dim=(0, 1), correction=0)
    return mean, var


def norm_layers(network: nn.Module) -> list[PooledBatchNorm]:
    """The layers of ``network`` that keep moving statistics, in the order of their definition."""
    return [module for module in network.modules() if isinstance(module, PooledBatchNorm)]
