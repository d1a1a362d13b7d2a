"""Losses that wait on the device until somebody reads them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snnrl.errors import NonFiniteError


class Losses:
    """Running means; adding one never waits for the device.

    Sums and counts are tensors that stay where they are: a captured gradient step adds to them.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take in a scalar loss, of shape ``[]``."""
        value = value.detach()
        if name not in self._sums:
            self._sums[name] = torch.zeros_like(value)
            self._counts[name] = torch.zeros_like(value)
        self._sums[name].add_(value)
        self._counts[name].add_(1)

    def drain(self, step: int) -> dict[str, float]:
        """Mean of each loss since the last call.

        :param step: environment steps so far, for the error
        :raises NonFiniteError: one of them is NaN or infinite
        """
        if not self._sums:
            return {}
        kept = [*self._sums.values(), *self._counts.values()]
        # One transfer for all, unless some never were on the device.
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
