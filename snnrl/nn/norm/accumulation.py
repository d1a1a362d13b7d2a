"""Statistics pooled over many batches."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from snnrl.nn.norm.effective_n import bounded, var_of_means

Statistics = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From ``x[T, B, N, ...]`` to a mean and a biased variance, ``[N]`` or ``[T, N]``."""


class Accumulation:
    """Mean and biased variance of all batches so far (Chan, Golub & LeVeque 1979).

    ``batch_size`` is how many inputs they came from, however many time steps each had.

    :param statistics: of one batch
    :param measures_n: whether to keep the variance of the inputs' means as well, see
        :func:`snnrl.nn.norm.effective_n.var_of_means`
    """

    def __init__(self, statistics: Statistics, *, measures_n: bool = False) -> None:
        self._statistics = statistics
        self._measures_n = measures_n
        self.batch_size = 0
        self.mean: Tensor | None = None
        self.var: Tensor | None = None
        self._of_means: Tensor | None = None
        self.var_of_means: Tensor | None = None

    def add(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Add ``x[T, B, N, ...]`` and return mean and variance so far."""
        mean, var = self._statistics(x.detach())
        of_means = var_of_means(x) if self._measures_n else None
        new = x.shape[1]
        if self.mean is None or self.var is None:
            self.batch_size, self.mean, self.var, self._of_means = new, mean, var, of_means
        else:
            share = new / (self.batch_size + new)
            delta = mean - self.mean
            between = share * (1 - share) * delta * delta
            self.var = self.var.lerp(var, share) + between
            if of_means is not None and self._of_means is not None:
                self._of_means = self._of_means.lerp(of_means, share) + between
            self.mean = self.mean + share * delta
            self.batch_size += new
        if self._of_means is not None:
            self.var_of_means = bounded(self._of_means, self.var, x)
        return self.mean, self.var
