"""The forward pass of a network through fused operators."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn

from snnrl.nn.coding import DirectEncoder, Encoder, PopulationEncoder
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import PooledBatchNorm
from snnrl.ops.dynamics import Dynamics


class Operators(Protocol):
    """What :mod:`snnrl.ops.native` and :mod:`snnrl.ops.triton` offer."""

    def neuron(self, x: Tensor, dynamics: Dynamics) -> Tensor:
        """Currents ``[T, B, ...]`` -> spikes."""

    def normalised_neuron(
        self,
        x: Tensor,
        statistics: tuple[Tensor, Tensor] | None,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        dynamics: Dynamics,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x[T, B, N]`` -> spikes, mean, variance."""

    def spike_linear(self, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Spikes ``[T, B, K]`` -> currents ``[T, B, N]``."""

    def encoded_linear(
        self, drive: Tensor, time_steps: int, threshold: float, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Drive ``[B, K]`` -> currents ``[T, B, N]``."""

    def counts(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T, B, N]`` -> ``[B, N]``."""


def operators(kernel: str) -> Operators:
    """Those of ``native`` or ``triton``."""
    if kernel == "triton":
        from snnrl.ops import triton

        return cast(Operators, triton)
    from snnrl.ops import native

    return cast(Operators, native)


def fire(norm: nn.Module, neuron: Neuron, currents: Tensor, ops: Operators) -> Tensor:
    """Normalisation and neurons, from rest: currents ``[T, B, N, ...]`` -> spikes.

    One operator where the normalisation is pooled and its statistics are the batch's or the moving
    ones; otherwise (images, a re-calibration, PPO's gradients) the layer itself, then the neurons.
    """
    dynamics = neuron.dynamics()
    assert dynamics is not None
    if not isinstance(norm, PooledBatchNorm) or currents.dim() > 3 or not norm.is_plain():
        return ops.neuron(norm(currents), dynamics)
    given = None if norm.training else (norm.moving_mean, norm.moving_var)
    spikes, mean, var = ops.normalised_neuron(
        currents, given, norm.gamma, norm.beta, norm.eps, dynamics
    )
    if norm.training:
        norm.move(mean, var, currents.shape[1])
    return spikes


def encoded_currents(encoder: Encoder, linear: nn.Linear, x: Tensor, ops: Operators) -> Tensor:
    """What the first layer makes of observations ``[B, ...]``: ``[T, B, N]``."""
    if isinstance(encoder, PopulationEncoder):
        return ops.encoded_linear(
            encoder.drive(x), encoder.time_steps, encoder.THRESHOLD, linear.weight, linear.bias
        )
    if isinstance(encoder, DirectEncoder):
        return over_time(linear(x), encoder.time_steps)
    currents: Tensor = linear(encoder(x))
    return currents


def over_time(currents: Tensor, time_steps: int) -> Tensor:
    """The same currents ``[B, ...]`` in every step: ``[T, B, ...]``."""
    return currents.expand(time_steps, *currents.shape)


def convolved(convolution: nn.Conv2d, spikes: Tensor) -> Tensor:
    """``[T, B, C, H, W]`` -> ``[T, B, N, H', W']``."""
    currents: Tensor = convolution(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2])
    return currents
