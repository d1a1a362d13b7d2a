"""Fused operators for a CPU, in C++: as exact as the naive ones, and without their time loops.

They are fast for two reasons. Normalisation, neuron and time loop are one pass over a block of
features that stays in the cache, forward and backward. Products with spikes only add the weight
rows of neurons that spiked (10 to 30 % of them), instead of multiplying by ones and zeros:
event-driven, as on a neuromorphic chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch.nn.functional as F
from torch import Tensor

from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.native import calls
from snnrl.ops.native.arguments import InferenceLayer as InferenceLayer
from snnrl.ops.native.arguments import with_numbers
from snnrl.ops.native.calls import use_threads as use_threads
from snnrl.ops.native.dense import Map as Map
from snnrl.ops.native.dense import perceptron as perceptron
from snnrl.ops.native.functions import (
    EncodedLinearFunction,
    FireCountsFunction,
    FireLinearFunction,
    NeuronFunction,
    NormalisedNeuronFunction,
    SpikeLinearFunction,
)

NORMALISES_STEPS = True
"""Whether a layer's normalisation may differ between time steps."""

LEARNS = True
"""Whether constants of neurons and scales of surrogates may get gradients."""

RENORMALISES = True
"""Whether its gradients may be those of the batch's statistics where its values are not."""

CODES_POPULATIONS = False
"""Whether receptive fields and the readout of rates are operators."""

MOVES_STATISTICS = False
"""Whether one operator moves the statistics of all layers of a network."""

FEWEST_ROWS = 16
"""Rows from which a single product is event-driven: it first transposes the weights, which does not
pay for a batch of one observation."""


@overload
def neuron(x: Tensor, dynamics: Dynamics) -> Tensor: ...
@overload
def neuron(x: Tensor, dynamics: Dynamics, counts: Literal[True]) -> tuple[Tensor, Tensor]: ...
def neuron(x: Tensor, dynamics: Dynamics, counts: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Return the spikes of neurons from rest with currents ``[T, B, ...]``, as :mod:`snnrl.ops.lif`
    and others.

    :param counts: return their sum over time ``[B, ...]`` too, with gradients
    :raises UserError: not float32 on a CPU, or a threshold that is to get a gradient
    """
    numbers, learned = with_numbers(dynamics)
    spikes, counted = NeuronFunction.apply(x, learned, numbers, counts)  # type: ignore[no-untyped-call]
    return (spikes, counted) if counts else spikes


def normalised_neuron(x: Tensor, layer: FusedLayer, counts: bool = False) -> tuple[Tensor, ...]:
    """Pass currents ``[T, B, N]`` through a normalisation and neurons.

    :param counts: return the spikes' sum over time ``[B, N]`` as well, with gradients
    :return: spikes ``[T, B, N]``, and the mean and variance that were used, without gradients
    :raises UserError: not float32 on a CPU, or a threshold that is to get a gradient
    """
    numbers, learned = _with_numbers(layer)
    result: tuple[Tensor, ...] = NormalisedNeuronFunction.apply(  # type: ignore[no-untyped-call]
        x, learned, layer.gamma, layer.beta, numbers, counts
    )
    return result if counts else result[:3]


def fire_linear(
    x: Tensor,
    layer: FusedLayer,
    weight: Tensor,
    bias: Tensor | None,
    counts: bool = False,
) -> tuple[Tensor, ...]:
    """Apply :func:`normalised_neuron`, then :func:`spike_linear`, without storing the spikes.

    :param counts: return the spikes' sum over time ``[B, N]`` as well, with gradients
    :return: currents ``[T, B, M]`` of the next layer, and the mean and variance that were used
    :raises UserError: not float32 on a CPU, or a threshold that is to get a gradient
    """
    numbers, learned = _with_numbers(layer)
    result: tuple[Tensor, ...] = FireLinearFunction.apply(  # type: ignore[no-untyped-call]
        x, learned, layer.gamma, layer.beta, weight, bias, numbers, counts
    )
    return result if counts else result[:3]


def fire_counts(x: Tensor, layer: FusedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """Apply :func:`normalised_neuron`, then :func:`counts`, without storing the spikes.

    :return: spikes over time ``[B, N]``, and the mean and variance that were used
    :raises UserError: not float32 on a CPU, or a threshold that is to get a gradient
    """
    numbers, learned = _with_numbers(layer)
    result: tuple[Tensor, Tensor, Tensor] = FireCountsFunction.apply(  # type: ignore[no-untyped-call]
        x, learned, layer.gamma, layer.beta, numbers
    )
    return result


def _with_numbers(layer: FusedLayer) -> tuple[FusedLayer, Tensor | None]:
    """See :func:`with_numbers`."""
    dynamics, learned = with_numbers(layer.dynamics)
    if dynamics is layer.dynamics:
        return layer, learned
    return layer._replace(dynamics=dynamics), learned


def spike_linear(spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``spikes @ weight.T + bias`` of spikes ``[T, B, K]``: ``[T, B, N]``.

    Event-driven: row ``k`` of the transposed weights is added where input ``k`` spiked. The
    gradient of the weights is event-driven too; that of the spikes is a dense product.

    :param spikes: 0 or 1
    :param weight: ``[N, K]``
    :param bias: ``[N]``
    :raises UserError: not float32 on a CPU
    """
    if spikes.numel() < FEWEST_ROWS * spikes.shape[-1]:
        return F.linear(spikes, weight, bias)
    currents: Tensor = SpikeLinearFunction.apply(spikes, weight, bias)  # type: ignore[no-untyped-call]
    return currents


def encoded_linear(
    drive: Tensor, time_steps: int, threshold: float, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Apply a linear map to the spikes of a regularly spiking encoder: ``[T, B, N]``.

    The encoder is that of :class:`snnrl.nn.encoders.population.PopulationEncoder`: each step adds
    the drive to a potential, which spikes above the threshold and loses it, and lets gradients
    straight through. As their weights in time are fixed, the gradient of the drive needs one
    product for all steps.

    :param drive: ``[B, K]``
    :param time_steps: T
    :param threshold: of the encoder
    :param weight: ``[N, K]``
    :param bias: ``[N]``
    :raises UserError: not float32 on a CPU
    """
    currents: Tensor = EncodedLinearFunction.apply(drive, weight, bias, time_steps, threshold)  # type: ignore[no-untyped-call]
    return currents


def counts(spikes: Tensor) -> Tensor:
    """Return the spikes ``[T, B, N]`` of each neuron summed over time: ``[B, N]``."""
    return spikes.sum(0)


def infer(
    drive: Tensor, time_steps: int, threshold: float | None, layers: Sequence[InferenceLayer]
) -> Tensor:
    """Run a whole network without gradients, with constant statistics: ``[B, M]`` -> ``[B, N]``.

    :param drive: of the encoder of :func:`encoded_linear`, or with ``threshold=None`` the input of
        every step
    :param time_steps: T
    :param threshold: of the encoder
    :param layers: at least one
    :return: spikes of the last layer, added up over time
    :raises UserError: not float32 on a CPU
    """
    return calls.infer(drive, time_steps, threshold, layers)
