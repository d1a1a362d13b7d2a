"""Statistics of one feature over everything but the features."""

from __future__ import annotations

import torch
from torch import Tensor


def pooled_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of ``x[T, B, N, ...]`` per feature, each ``[N]``.

    Pooled over time and batch and, where there are more dimensions (images), over space.
    """
    var, mean = torch.var_mean(x, dim=(0, 1, *range(3, x.dim())), correction=0)
    return mean, var
