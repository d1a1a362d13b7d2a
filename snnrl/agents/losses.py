"""Losses that wait on the device until somebody reads them."""

from __future__ import annotations

import math

from torch import Tensor

from snnrl.errors import NonFiniteError


class Losses:
    """Running means; adding one never waits for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in a scalar loss."""
        value = value.detach()
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def drain(self, step: int) -> dict[str, float]:
        """Mean of each loss since the last call.

        :param step: environment steps so far, for the error
        :raises NonFiniteError: one of them is NaN or infinite
        """
        means = {name: float(self._sums[name]) / self._counts[name] for name in self._sums}
        self._sums, self._counts = {}, {}
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise NonFiniteError(name, step)
        return means
