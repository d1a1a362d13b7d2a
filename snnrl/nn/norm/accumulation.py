"""Statistics pooled over many batches."""

from __future__ import annotations

import torch
from torch import Tensor


class Accumulation:
    """Mean and biased variance of all batches so far (Chan, Golub & LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.var: Tensor | None = None

    def add(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take ``x[T, B, N]`` in and return mean and variance so far, each ``[N]``."""
        var, mean = torch.var_mean(x.detach(), dim=(0, 1), correction=0)
        new = x.shape[0] * x.shape[1]
        if self.mean is None or self.var is None:
            self.count, self.mean, self.var = new, mean, var
        else:
            share = new / (self.count + new)
            delta = mean - self.mean
            self.var = self.var.lerp(var, share) + share * (1 - share) * delta * delta
            self.mean = self.mean + share * delta
            self.count += new
        return self.mean, self.var
