"""The forward pass of a network through fused operators."""

from __future__ import annotations

from typing import Protocol, TypeGuard, cast

from torch import Tensor, nn

from snnrl.nn.coding import DirectEncoder, Encoder, PopulationEncoder
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import PooledBatchNorm
from snnrl.ops.dynamics import Dynamics, NormalisedNeurons


class Operators(Protocol):
    """What :mod:`snnrl.ops.native` and :mod:`snnrl.ops.triton` offer."""

    def neuron(self, x: Tensor, dynamics: Dynamics) -> Tensor:
        """Currents ``[T, B, ...]`` -> spikes."""

    def normalised_neuron(
        self, x: Tensor, layer: NormalisedNeurons
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x[T, B, N]`` -> spikes, mean, variance."""

    def fire_linear(
        self, x: Tensor, layer: NormalisedNeurons, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``x[T, B, N]`` -> currents ``[T, B, M]`` of the next layer, mean, variance."""

    def fire_counts(self, x: Tensor, layer: NormalisedNeurons) -> tuple[Tensor, Tensor, Tensor]:
        """``x[T, B, N]`` -> spikes over time ``[B, N]``, mean, variance."""

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
    """Normalisation and neurons, from rest: currents ``[T, B, N, ...]`` -> spikes."""
    if not _is_fused(norm, currents):
        return ops.neuron(norm(currents), dynamics_of(neuron))
    spikes, mean, var = ops.normalised_neuron(currents, _layer(norm, neuron))
    _move(norm, mean, var, currents)
    return spikes


def fire_linear(
    norm: nn.Module, neuron: Neuron, currents: Tensor, linear: nn.Linear, ops: Operators
) -> Tensor:
    """:func:`fire`, then the next layer's linear map: ``[T, B, N]`` -> ``[T, B, M]``."""
    if not _is_fused(norm, currents):
        spikes = ops.neuron(norm(currents), dynamics_of(neuron))
        return ops.spike_linear(spikes, linear.weight, linear.bias)
    currents_after, mean, var = ops.fire_linear(
        currents, _layer(norm, neuron), linear.weight, linear.bias
    )
    _move(norm, mean, var, currents)
    return currents_after


def fire_counts(norm: nn.Module, neuron: Neuron, currents: Tensor, ops: Operators) -> Tensor:
    """:func:`fire`, then the sum over time: ``[T, B, N]`` -> ``[B, N]``."""
    if not _is_fused(norm, currents):
        return ops.counts(ops.neuron(norm(currents), dynamics_of(neuron)))
    counts, mean, var = ops.fire_counts(currents, _layer(norm, neuron))
    _move(norm, mean, var, currents)
    return counts


def _is_fused(norm: nn.Module, currents: Tensor) -> TypeGuard[PooledBatchNorm]:
    """Whether normalisation and neuron are one operator: where the normalisation is pooled and its
    statistics are the batch's or the moving ones, and not for images, in a re-calibration or for
    PPO's gradients, where the layer itself is called."""
    return type(norm) is PooledBatchNorm and currents.dim() == 3 and norm.is_plain()


def dynamics_of(neuron: Neuron) -> Dynamics:
    """Of a neuron that the fused operators know."""
    dynamics = neuron.dynamics()
    assert dynamics is not None
    return dynamics


def _layer(norm: PooledBatchNorm, neuron: Neuron) -> NormalisedNeurons:
    given = None if norm.training else (norm.moving_mean, norm.moving_var)
    return NormalisedNeurons(given, norm.gamma, norm.beta, norm.eps, dynamics_of(neuron))


def _move(norm: PooledBatchNorm, mean: Tensor, var: Tensor, currents: Tensor) -> None:
    if norm.training:
        norm.move(mean, var, currents.shape[1])


def encoded_currents(encoder: Encoder, linear: nn.Linear, x: Tensor, ops: Operators) -> Tensor:
    """What the first layer makes of observations ``[B, ...]``: ``[T, B, N]``."""
    if type(encoder) is PopulationEncoder:
        return ops.encoded_linear(
            encoder.drive(x), encoder.time_steps, encoder.THRESHOLD, linear.weight, linear.bias
        )
    if type(encoder) is DirectEncoder:
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
