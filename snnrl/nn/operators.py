"""Fused operators from which a network's passes are composed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, cast, overload

from torch import Tensor

from snnrl.ops.confidence import ConfidenceRule, MovedLayer
from snnrl.ops.dynamics import Dynamics, FusedLayer


class Operators(Protocol):
    """Interface of :mod:`snnrl.ops.native` and :mod:`snnrl.ops.triton`."""

    LEARNS: bool
    NORMALISES_STEPS: bool
    RENORMALISES: bool
    CODES_POPULATIONS: bool
    MOVES_STATISTICS: bool

    @overload
    def neuron(self, x: Tensor, dynamics: Dynamics) -> Tensor: ...
    @overload
    def neuron(
        self, x: Tensor, dynamics: Dynamics, counts: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...
    def neuron(
        self, x: Tensor, dynamics: Dynamics, counts: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Currents ``[T, B, ...]`` -> spikes, and with ``counts`` spikes over time ``[B, ...]``."""

    def normalised_neuron(
        self, x: Tensor, layer: FusedLayer, counts: bool = False
    ) -> tuple[Tensor, ...]:
        """``x[T, B, N]`` -> spikes, mean, variance, and with ``counts`` spikes over time."""

    def fire_linear(
        self,
        x: Tensor,
        layer: FusedLayer,
        weight: Tensor,
        bias: Tensor | None,
        counts: bool = False,
    ) -> tuple[Tensor, ...]:
        """``x[T, B, N]`` -> currents ``[T, B, M]`` of the next layer, mean, variance, and with
        ``counts`` spikes over time ``[B, N]``."""

    def fire_counts(self, x: Tensor, layer: FusedLayer) -> tuple[Tensor, Tensor, Tensor]:
        """``x[T, B, N]`` -> spikes over time ``[B, N]``, mean, variance."""

    def spike_linear(self, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Spikes ``[T, B, K]`` -> currents ``[T, B, N]``."""

    def encoded_linear(
        self, drive: Tensor, time_steps: int, threshold: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Drive ``[B, K]`` -> currents ``[T, B, N]``."""

    def fields_linear(
        self,
        seen: Tensor,
        fields: tuple[Tensor, Tensor],
        time_steps: int,
        threshold: float,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Observations ``[B, D]`` -> currents ``[T, B, N]`` through receptive fields, mean and std
        ``[D, P]``; only where ``CODES_POPULATIONS``."""

    def decode(self, counts: Tensor, weight: Tensor, bias: Tensor, time_steps: int) -> Tensor:
        """Spikes over time ``[B, A * P]`` -> values ``[B, A]``; only where
        ``CODES_POPULATIONS``."""

    def move_statistics(self, layers: Sequence[MovedLayer], rule: ConfidenceRule) -> None:
        """Move the statistics of several layers in place; only where ``MOVES_STATISTICS``."""

    def counts(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T, B, N]`` -> ``[B, N]``."""


def operators(kernel: str) -> Operators:
    """Return the operators of ``native`` or ``triton``."""
    if kernel == "triton":
        from snnrl.ops import triton

        return cast(Operators, triton)
    from snnrl.ops import native

    return cast(Operators, native)
