"""Losses that stay on the device until they are read."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snnrl.errors import NonFiniteError


class LossLog:
    """Running means of losses; adding a loss never waits for the device.

    Sums and counts are tensors that are never replaced: a captured gradient step adds to them.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar loss, of shape ``[]``."""
        value = value.detach()
        if name not in self._sums:
            self._sums[name] = torch.zeros_like(value)
            self._counts[name] = torch.zeros_like(value)
        self._sums[name].add_(value)
        self._counts[name].add_(1)

    def drain(self, step: int) -> dict[str, float]:
        """Return the mean of each loss since the last call.

        :param step: environment steps so far, for the error
        :raises NonFiniteError: one of them is NaN or infinite
        """
        if not self._sums:
            return {}
        kept = [*self._sums.values(), *self._counts.values()]
        # One transfer for all of them, unless some were never on the device.
        device = next((value.device for value in kept if value.device.type != "cpu"), None)
        values = torch.stack([value.to(device, torch.float64) for value in kept]).tolist()
        torch._foreach_zero_(kept)
        sums, counts = values[: len(self._sums)], values[len(self._sums) :]
        means = {
            name: total / count
            for name, total, count in zip(self._sums, sums, counts, strict=True)
            if count
        }
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise NonFiniteError(name, step)
        return means


class LatestLosses:
    """Mean of each loss over the last ``train()`` in which it occurred.

    Stable-Baselines3's logger holds these between two dumps. Only reading them waits for the
    device.
    """

    ROOM = 32

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}
        self._totals: Tensor | None = None
        self._means: Tensor | None = None
        self._unread = False

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar loss, of shape ``[]``."""
        value = value.detach()
        if self._totals is None:
            # Allocated once for all losses: a captured gradient step adds to this very tensor.
            self._totals = torch.zeros(2, self.ROOM, dtype=torch.float64, device=value.device)
            self._means = torch.zeros(self.ROOM, dtype=torch.float64, device=value.device)
        column = self._columns.setdefault(name, len(self._columns))
        self._totals[0, column].add_(value)
        self._totals[1, column].add_(1)

    def settle(self) -> None:
        """Compute the means of a ``train()`` that has ended."""
        if self._totals is None or self._means is None:
            return
        sums, counts = self._totals
        self._means = torch.where(counts > 0, sums / counts, self._means)
        self._totals.zero_()
        self._unread = True

    def read(self) -> dict[str, float] | None:
        """Return the means, NaN included; ``None`` if no ``train()`` ended since the last call."""
        if not self._unread or self._means is None:
            return None
        self._unread = False
        means = self._means.tolist()
        return {name: means[column] for name, column in self._columns.items()}
