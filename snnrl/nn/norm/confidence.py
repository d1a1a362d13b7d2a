"""The confidence-adaptive update rule of CaRe-BN."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConfidenceUpdate(nn.Module):
    """Fuse moving and batch statistics, each weighted by the inverse of its uncertainty.

    For the mean and for the variance separately, per feature:
    ``delta = batch - moving``; prior variance ``P <- q P + (1 - q) delta^2``; gain
    ``K = P / (P + R)``; ``moving <- moving + K delta``. The observation variances are
    ``R_mean = var / n`` and ``R_var = 2 var^2 / n`` with the batch's variance. Where P + R = 0
    the gain is 0 (the published formula gives NaN there).

    P contains R as well (the expectation of delta^2 does), so that K stays near 0.5 when nothing
    drifts: the rule is meant for statistics that drift fast.

    Source: CaRe-BN (arXiv 2509.23791).

    :param size: shape of the statistics, ``[N]`` or ``[T, N]``
    :param smoothing: ``q``, how slowly the prior variance follows
    :param effective_n: ``n``, the effective sample size of a batch; ``None`` is batch size - 1,
        the published choice at batch 256
    """

    prior_mean: Tensor
    prior_var: Tensor
    gain_mean: Tensor
    gain_var: Tensor

    def __init__(
        self, size: tuple[int, ...], smoothing: float = 0.8, effective_n: float | None = None
    ):
        super().__init__()
        self.smoothing = smoothing
        self.effective_n = effective_n
        for name in ("prior_mean", "prior_var", "gain_mean", "gain_var"):
            self.register_buffer(name, torch.zeros(size))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        n = "batch size - 1" if self.effective_n is None else f"{self.effective_n:g}"
        return f"smoothing={self.smoothing:g}, effective_n={n}"

    def forward(
        self, moving_mean: Tensor, moving_var: Tensor, mean: Tensor, var: Tensor, batch_size: int
    ) -> None:
        """Move ``moving_mean`` and ``moving_var`` in place; all tensors of one shape."""
        n = max(batch_size - 1, 1) if self.effective_n is None else self.effective_n
        self._fuse(moving_mean, mean, var / n, self.prior_mean, self.gain_mean)
        self._fuse(moving_var, var, 2 * var * var / n, self.prior_var, self.gain_var)

    def gains(self) -> dict[str, Tensor]:
        """Return the gains of the last update, of the shape of the statistics."""
        return {"gain_mean": self.gain_mean, "gain_var": self.gain_var}

    def _fuse(
        self, moving: Tensor, batch: Tensor, observation: Tensor, prior: Tensor, gain: Tensor
    ) -> None:
        delta = batch - moving
        prior.lerp_(delta * delta, 1 - self.smoothing)
        total = prior + observation
        gain.copy_(torch.where(total > 0, prior / total, 0.0))
        moving.add_(gain * delta)
