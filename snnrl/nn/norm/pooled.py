"""Batch normalisation whose statistics are pooled over time and batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.nn.norm.accumulation import Accumulation
from snnrl.nn.norm.pooling import pooled_statistics


class PooledBatchNorm(nn.Module):
    """``y = gamma (x - mean) / sqrt(var + eps) + beta``, one mean and variance per feature.

    Statistics are pooled over time and batch, and for images over space (one per channel); the
    variance is the biased one. Which are used:

    - ``training``: those of the batch (gradients flow through them), and the update rule moves
      ``moving_mean`` and ``moving_var``;
    - ``eval``, or inside :func:`snnrl.nn.norm.frozen_statistics`: the moving ones, which do not
      change;
    - inside :func:`snnrl.nn.norm.recalibrating`: those accumulated so far.

    With ``renormalises``, a pass with gradients in evaluation mode takes the value of the moving
    statistics and the gradient of the batch's, ``(x - mean) / sd r + d`` with the constants
    ``r = sd / moving sd`` and ``d = (mean - moving mean) / moving sd``. That gradient has no part
    along a shift or a scaling of x, which later statistics would take away again.

    Source: CaRe-BN (arXiv 2509.23791); gamma and beta start at half the firing threshold.
    ``renormalises``: batch renormalisation (Ioffe 2017, arXiv 1702.03275) without bounds on r, d.

    :param features: number of features (channels) N
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
        self.renormalises = False

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{len(self.gamma)}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x[T, B, N, ...]``."""
        mean, var = self._statistics_for(x)
        normalised = self._normalise(x, mean, var)
        if self.renormalises and not self.training and torch.is_grad_enabled():
            batch_mean, batch_var = pooled_statistics(x)
            r = torch.sqrt((batch_var + self.eps) / (var + self.eps)).detach()
            learns = self._normalise(x, batch_mean, batch_var) * _per_feature(r, x)
            normalised = normalised.detach() + (learns - learns.detach())
        return normalised * _per_feature(self.gamma, x) + _per_feature(self.beta, x)

    def _normalise(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        mean, var = _per_feature(mean, x), _per_feature(var, x)
        return (x - mean) / torch.sqrt(var + self.eps)

    def is_plain(self) -> bool:
        """Whether this pass uses the batch's or the moving statistics, and their own gradient."""
        renormalises = self.renormalises and not self.training and torch.is_grad_enabled()
        return self.accumulation is None and not renormalises

    @torch.no_grad()
    def move(self, mean: Tensor, var: Tensor, batch_size: int) -> None:
        """Let the update rule move the moving statistics towards ``mean`` and ``var``, ``[N]``."""
        self.update(self.moving_mean, self.moving_var, mean, var, batch_size)

    def _statistics_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.accumulation is not None:
            return self.accumulation.add(x)
        if not self.training:
            return self.moving_mean, self.moving_var
        mean, var = pooled_statistics(x)
        self.move(mean, var, x.shape[1])
        return mean, var


def _per_feature(values: Tensor, x: Tensor) -> Tensor:
    """``[N]`` in a shape that goes with ``x[T, B, N, ...]``."""
    return values.view(-1, *[1] * (x.dim() - 3))


def norm_layers(network: nn.Module) -> list[PooledBatchNorm]:
    """The layers of ``network`` that keep moving statistics, in the order of their definition."""
    return [module for module in network.modules() if isinstance(module, PooledBatchNorm)]
