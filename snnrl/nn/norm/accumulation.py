"""Statistics pooled over many batches."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Statistics = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From ``x[T, B, N, ...]`` to a mean and a biased variance, ``[N]`` or ``[T, N]``."""


class Accumulation:
    """Mean and biased variance of all batches so far (Chan, Golub & LeVeque 1979).

    ``batch_size`` is how many inputs they came from, however many time steps each had.

    :param statistics: of one batch
    """

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics
        self.batch_size = 0
        self.mean: Tensor | None = None
        self.var: Tensor | None = None

    def add(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``x[T, B, N, ...]`` and return mean and variance so far."""
        mean, var = self._statistics(x.detach())
        new = x.shape[1]
        if self.mean is None or self.var is None:
            self.batch_size, self.mean, self.var = new, mean, var
        else:
            share = new / (self.batch_size + new)
            delta = mean - self.mean
            self.var = self.var.lerp(var, share) + share * (1 - share) * delta * delta
            self.mean = self.mean + share * delta
            self.batch_size += new
        return self.mean, self.var
