"""The confidence-adaptive update rule of CaRe-BN, and variants of it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from snnrl.nn.answers import answers
from snnrl.nn.norm.effective_n import sample_size
from snnrl.ops.confidence import ConfidenceRule, MovedLayer


class ConfidenceUpdate(nn.Module):
    """Fuse moving and batch statistics, each weighted by the inverse of its uncertainty.

    For the mean and for the variance separately, per feature:
    ``delta = batch - moving``; smoothed square ``G <- q G + (1 - q) delta^2``; gain
    ``K = P / (P + R)``; ``moving <- moving + K delta``. The observation variances are
    ``R_mean = var / n`` and ``R_var = 2 var^2 / n`` with the batch's variance. Where P + R = 0
    the gain is 0 (the published formula gives NaN there).

    This is the published rule, whose prior variance P is G. G contains R as well (the expectation
    of delta^2 does), so that K stays near 0.5 when nothing drifts: the rule is meant for statistics
    that drift fast.

    Source: CaRe-BN (arXiv 2509.23791).

    :param size: shape of the statistics, ``[N]`` or ``[T, N]``
    :param smoothing: ``q``, how slowly G follows
    :param effective_n: ``n``, the effective sample size of a batch; ``None`` is batch size - 1,
        the published choice at batch 256; ``auto``: see :mod:`snnrl.nn.norm.effective_n`
    """

    prior_mean: Tensor
    prior_var: Tensor
    gain_mean: Tensor
    gain_var: Tensor

    def __init__(
        self,
        size: tuple[int, ...],
        smoothing: float = 0.8,
        effective_n: float | Literal["auto"] | None = None,
    ):
        super().__init__()
        self.smoothing = smoothing
        self.effective_n = effective_n
        for name in ("prior_mean", "prior_var", "gain_mean", "gain_var"):
            self.register_buffer(name, torch.zeros(size))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        given = self.effective_n
        n = f"{given:g}" if isinstance(given, float | int) else given or "batch size - 1"
        return f"smoothing={self.smoothing:g}, effective_n={n}"

    def forward(
        self,
        moving_mean: Tensor,
        moving_var: Tensor,
        mean: Tensor,
        var: Tensor,
        batch_size: int,
        var_of_means: Tensor | None = None,
    ) -> None:
        """Move ``moving_mean`` and ``moving_var`` in place; all tensors of one shape.

        :param var_of_means: of the batch, see :func:`snnrl.nn.norm.effective_n.var_of_means`; only
            ``effective_n="auto"`` needs it
        """
        n: float | Tensor
        if self.effective_n == "auto":
            assert var_of_means is not None
            n = sample_size(var, var_of_means, batch_size)
        else:
            n = self._given_n(batch_size)
        self._fuse(moving_mean, mean, var / n, "mean")
        self._fuse(moving_var, var, 2 * var * var / n, "var")

    def fused(self, n: float) -> ConfidenceRule:
        """Return the rule as a fused operator takes it, with this sample size."""
        return ConfidenceRule("published", self.smoothing, n)

    def known_fused(
        self, moving: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], batch_size: int
    ) -> tuple[ConfidenceRule, MovedLayer] | None:
        """Return :meth:`fused` if it still describes :meth:`forward`, and what it moves.

        ``None``: each feature has a sample size of its own, or the tensors are not float32 and
        contiguous.

        :param moving, batch: mean and variance, moving and of the batch
        """
        if self.effective_n == "auto" or not answers(self, "fused", "_gain", "_fuse"):
            return None
        prior, gain = (self.prior_mean, self.prior_var), (self.gain_mean, self.gain_var)
        layer = MovedLayer(moving, prior, gain, self._posterior(), (batch[0], batch[1]))
        numbers = (*moving, *prior, *gain, *layer.posterior[:2])
        if not all(t.dtype == torch.float32 and t.is_contiguous() for t in numbers):
            return None
        return self.fused(self._given_n(batch_size)), layer

    def _posterior(self) -> tuple[Tensor, ...]:
        """Return the state that only a Kalman filter has."""
        return ()

    def _given_n(self, batch_size: int) -> float:
        assert self.effective_n != "auto"
        return max(batch_size - 1, 1) if self.effective_n is None else self.effective_n

    def gains(self) -> dict[str, Tensor]:
        """Return the gains of the last update, of the shape of the statistics."""
        return {"gain_mean": self.gain_mean, "gain_var": self.gain_var}

    def _fuse(self, moving: Tensor, batch: Tensor, observation: Tensor, of: str) -> None:
        """Move one statistic, ``mean`` or ``var``, whose observation variance is R."""
        delta = batch - moving
        smoothed = self._statistic("prior", of)
        smoothed.lerp_(delta * delta, 1 - self.smoothing)
        gain = self._statistic("gain", of)
        gain.copy_(self._gain(smoothed, observation, of))
        moving.add_(gain * delta)

    def _statistic(self, name: str, of: str) -> Tensor:
        # Many times faster than get_buffer().
        statistic = self._buffers[f"{name}_{of}"]
        assert statistic is not None
        return statistic

    def _gain(self, smoothed: Tensor, observation: Tensor, of: str) -> Tensor:
        """Return K of G and R."""
        return _weight(smoothed, observation)


class CorrectedConfidenceUpdate(ConfidenceUpdate):
    """:class:`ConfidenceUpdate` with ``P = max(G - R, 0)``: ours, not published.

    The expectation of G is that of the drift plus R, so P estimates the drift alone. When nothing
    drifts, the gain would be 0 if G were exact. G is noisy (with q = 0.8 it averages some nine
    batches), and the gain is 0.19 on average. The mean square error of the mean is then 0.25 R,
    against 0.47 R of the published rule and ``m / (2 - m)`` R of a moving average with momentum m.
    """

    def fused(self, n: float) -> ConfidenceRule:
        return ConfidenceRule("corrected", self.smoothing, n)

    def _gain(self, smoothed: Tensor, observation: Tensor, of: str) -> Tensor:
        return _weight((smoothed - observation).clamp(min=0), observation)


class KalmanUpdate(ConfidenceUpdate):
    """:class:`ConfidenceUpdate` as a Kalman filter of a random walk: ours, not published.

    P is the variance of the moving statistic itself. It grows by the process noise Q, which is what
    G holds beyond the rest, and shrinks by each batch: ``Q = max(G - R - P, 0)``; ``P' = P + Q``;
    ``K = P' / (P' + R)``; ``P = (1 - K) P'``. P starts at infinity: the first batch replaces the
    statistics. Without process noise and with equal R the k-th gain is ``1 / k``, the mean of all
    batches.

    A given process noise is in units of R, as R scales with the feature and differs between mean
    and variance. Its gain settles where ``K^2 / (1 - K)`` is that noise.

    Source: Kalman (1960).

    :param size, smoothing, effective_n: as those of :class:`ConfidenceUpdate`
    :param process_noise: ``Q / R``; ``None``: as above
    """

    posterior_mean: Tensor
    posterior_var: Tensor
    started: Tensor

    def __init__(
        self,
        size: tuple[int, ...],
        smoothing: float = 0.8,
        effective_n: float | Literal["auto"] | None = None,
        process_noise: float | None = None,
    ):
        super().__init__(size, smoothing, effective_n)
        self.process_noise = process_noise
        for name in ("posterior_mean", "posterior_var"):
            self.register_buffer(name, torch.zeros(size))
        # In place of an infinite P: an infinity in a checkpoint means that learning failed.
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        noise = "adaptive" if self.process_noise is None else f"{self.process_noise:g}"
        return f"{super().extra_repr()}, process_noise={noise}"

    def forward(
        self,
        moving_mean: Tensor,
        moving_var: Tensor,
        mean: Tensor,
        var: Tensor,
        batch_size: int,
        var_of_means: Tensor | None = None,
    ) -> None:
        super().forward(moving_mean, moving_var, mean, var, batch_size, var_of_means)
        self.started.fill_(True)

    def fused(self, n: float) -> ConfidenceRule:
        return ConfidenceRule("kalman", self.smoothing, n, self.process_noise)

    def _posterior(self) -> tuple[Tensor, ...]:
        return self.posterior_mean, self.posterior_var, self.started

    def _gain(self, smoothed: Tensor, observation: Tensor, of: str) -> Tensor:
        posterior = self._statistic("posterior", of)
        noise = (
            (smoothed - observation - posterior).clamp(min=0)
            if self.process_noise is None
            else self.process_noise * observation
        )
        gain = torch.where(self.started, _weight(posterior + noise, observation), 1.0)
        # (1 - K) P', also where P' is infinite.
        posterior.copy_(gain * observation)
        return gain


def _weight(prior: Tensor, observation: Tensor) -> Tensor:
    """Return ``P / (P + R)``, 0 where both are."""
    total = prior + observation
    return torch.where(total > 0, prior / total, 0.0)
