"""Effective sample size of a batch, from how alike the time steps of an input are: ours."""

from __future__ import annotations

import torch
from torch import Tensor


def var_of_means(x: Tensor) -> Tensor:
    """Return the biased variance over the batch of each input's mean over time and space, ``[N]``.

    :param x: ``[T, B, N, ...]``
    """
    return x.detach().mean((0, *range(3, x.dim()))).var(0, correction=0)


def bounded(var_of_means: Tensor, var: Tensor, x: Tensor) -> Tensor:
    """Return the variance of means, at least what it would be if an input's values were
    independent.

    Alternating values have less. An observation variance near 0 would let one batch replace
    everything.

    :param var: biased variance over all but the features, ``[N]``
    :param x: ``[T, B, N, ...]``, a batch, for the number of values of an input
    """
    return torch.maximum(var_of_means, var * (x.shape[1] * x.shape[2] / x.numel()))


def sample_size(var: Tensor, var_of_means: Tensor, batch_size: int) -> Tensor:
    """Return the effective sample size of a batch for each feature, ``[N]``.

    A batch has B independent inputs, each with T correlated steps. Its mean has the variance of
    the mean of ``n = B T / (1 + 2 sum_k (1 - k / T) rho_k)`` independent values, where ``rho_k`` is
    the autocorrelation at k steps. Estimated over all pairs of steps k apart, with the batch's mean
    and variance, the denominator is ``T var_of_means / var``: so ``n = B var / var_of_means``. It
    lies between B (an input's steps are all equal) and B T (independent). The places of an image,
    which are alike as well, count as steps do.

    Each feature has its own: a population code has silent features beside lively ones, and with B
    inputs the ratio is known to about ``sqrt(2 / B)`` of itself. The same n serves mean and
    variance, as in the published rule; squares are less alike than values, so for the variance it
    is rather too small.
    """
    ratio = torch.where(var_of_means > 0, var / var_of_means, 1.0)
    return batch_size * ratio
