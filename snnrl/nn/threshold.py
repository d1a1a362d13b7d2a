"""Firing thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor

from snnrl.nn.adaptive import Adaptive
from snnrl.parameters import Above


class Threshold(Adaptive):
    """A firing threshold: a number, or a number times a gain that a regulation changes.

    :param threshold: membrane potential above which a neuron spikes
    :param regulated: whether there is a gain
    """

    gain: Tensor

    _held: Tensor | None = None

    def __init__(self, threshold: Annotated[float, Above(0)] = 0.5, regulated: bool = False):
        super().__init__()
        self.value = threshold
        self.regulated = regulated
        if regulated:
            self.register_buffer("gain", torch.ones(()))

    def extra_repr(self) -> str:
        """Its value, for ``print``."""
        return f"{self.value:g}{' times a gain' if self.regulated else ''}"

    def level(self) -> float | Tensor:
        """Return the current threshold: a number, or a tensor of shape ``[]``."""
        if not self.regulated:
            return self.value
        return self.value * self.gain if self._held is None else self._held

    def followed(self) -> list[Tensor]:
        return [self.gain] if self.regulated else []


@contextmanager
def held(thresholds: Sequence[Threshold]) -> Iterator[None]:
    """Context in which the thresholds keep their present level, as tensors that never change.

    For compiled passes: compiled code would read a gain again when it computes gradients, and by
    then a regulation has moved it.
    """
    moving = [threshold for threshold in thresholds if threshold.regulated]
    for threshold in moving:
        threshold._held = threshold.value * threshold.gain
    try:
        yield
    finally:
        for threshold in moving:
            threshold._held = None
