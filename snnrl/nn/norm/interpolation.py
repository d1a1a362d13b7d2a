"""Moving statistics between earlier and present ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from snnrl.nn.norm.batch import norm_layers

HALVINGS = 8
"""Steps of a bisection."""


class Interpolation:
    """The way of a network's moving statistics from earlier ones to the present ones.

    Means and variances are interpolated linearly, all with one share. So a variance lies between
    two variances, and a share is what a moving average with that momentum would take over.

    :param network: its statistics are the end of the way
    :param start: earlier mean and variance of each layer
    """

    def __init__(self, network: nn.Module, start: Iterable[tuple[Tensor, Tensor]]):
        self._buffers = [b for n in norm_layers(network) for b in (n.moving_mean, n.moving_var)]
        self._start = [value for pair in start for value in pair]
        self._end = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def go(self, share: float) -> None:
        """Set the statistics to a share of the way; 0 and 1 give the start and the end exactly."""
        for buffer, start, end in zip(self._buffers, self._start, self._end, strict=True):
            torch.lerp(start, end, share, out=buffer)


def largest_share(fits: Callable[[float], bool]) -> float:
    """Return the largest share in [0, 1] that fits, found by bisection.

    The square root of the share is halved, so small shares are found as closely as large ones: it
    is exact to ``2 ** -HALVINGS``. A share of 0 is taken to fit. If shares that fit are not one
    interval, this returns the end of one of their intervals.

    :param fits: called first with 1, and, if that does not fit, ``HALVINGS`` times
    """
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if fits(middle**2):
            low = middle
        else:
            high = middle
    return low**2
