"""Triton's kernels for CUDA: ``kernel=triton``. The same functions as every fused backend.

All are differentiable; neurons start at rest; nothing is saved for backward but x and vectors of
one number a channel. On a CPU each raises :class:`snnrl.errors.UserError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch.nn.functional as F
from torch import Tensor

from snnrl.ops.confidence import ConfidenceRule, MovedLayer
from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.triton import register
from snnrl.ops.triton.requirements import check_device, check_input

LEARNS = NORMALISES_STEPS = RENORMALISES = False
"""See :mod:`snnrl.ops.native`, which does all of it."""

CODES_POPULATIONS = True
"""Whether :func:`fields_linear` and :func:`decode` exist."""

MOVES_STATISTICS = True
"""Whether :func:`move_statistics` moves those of all layers of a network at once."""

__all__ = [
    "CODES_POPULATIONS",
    "LEARNS",
    "MOVES_STATISTICS",
    "NORMALISES_STEPS",
    "RENORMALISES",
    "check_device",
    "counts",
    "decode",
    "encode",
    "encoded_linear",
    "fields_linear",
    "fire_counts",
    "fire_linear",
    "move_statistics",
    "neuron",
    "normalised_neuron",
    "spike_linear",
]


@overload
def neuron(x: Tensor, dynamics: Dynamics) -> Tensor: ...
@overload
def neuron(x: Tensor, dynamics: Dynamics, counts: Literal[True]) -> tuple[Tensor, Tensor]: ...
def neuron(x: Tensor, dynamics: Dynamics, counts: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Return the spikes of currents ``x[T, B, ...]``, of its shape and dtype.

    :param counts: return their sum over time ``[B, ...]`` too, with gradients
    :raises UserError: ``x`` is on no CUDA device, or of a type beyond float32
    """
    check_input(x)
    spikes, counted = register.neuron(x, dynamics, counts)
    return (spikes, counted) if counts else spikes


def normalised_neuron(x: Tensor, layer: FusedLayer, counts: bool = False) -> tuple[Tensor, ...]:
    """Pass currents ``[T, B, N]`` through a normalisation and neurons.

    :param counts: return the spikes' sum over time ``[B, N]`` as well, with gradients
    :return: spikes of the shape and dtype of ``x``; mean and variance ``[N]`` without gradient
    :raises UserError: ``x`` is on no CUDA device, or of a type beyond float32
    """
    check_input(x)
    if layer.per_step or layer.gamma.dim() > 1:
        raise ValueError("expected one normalisation for all time steps")
    result = register.normalised_neuron(x, *layer[:5], counts)
    return result if counts else result[:3]


def encode(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    """Return the spikes ``[T, B, M]`` of a drive ``[B, M]``: integrate, spike, soft reset.

    The gradient passes straight through the threshold.

    :raises UserError: ``drive`` is on no CUDA device, or of a type beyond float32
    """
    check_input(drive)
    return register.encode(drive, time_steps, threshold)


def counts(spikes: Tensor) -> Tensor:
    """Return the spikes ``[T, B, N]`` of each neuron summed over time: ``[B, N]``.

    :raises UserError: ``spikes`` are on no CUDA device, or of a type beyond float32
    """
    check_input(spikes)
    return spikes.sum(0)


def spike_linear(spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a linear map ``weight[N, K]`` to spikes ``[T, B, K]``, by the vendor's matrix product.

    :raises UserError: ``spikes`` are on no CUDA device, or of a type beyond float32
    """
    check_input(spikes)
    return F.linear(spikes, weight, bias)


def encoded_linear(
    drive: Tensor, time_steps: int, threshold: float, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Apply a linear map to the spikes of a drive ``[B, K]``, see :func:`encode`: ``[T, B, N]``.

    :raises UserError: ``drive`` is on no CUDA device, or of a type beyond float32
    """
    return F.linear(encode(drive, time_steps, threshold), weight, bias)


def fields_linear(
    seen: Tensor,
    fields: tuple[Tensor, Tensor],
    time_steps: int,
    threshold: float,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """Apply a linear map to the spikes ``[T, B, D * P]`` of observations ``[B, D]``, of which each
    number drives P neurons by ``exp(-(o - mean)^2 / (2 std^2))``.

    :param fields: mean and std, ``[D, P]``
    :raises UserError: ``seen`` is on no CUDA device, or of a type beyond float32
    """
    check_input(seen)
    spikes = register.encode_fields(seen, *fields, time_steps, threshold)
    return F.linear(spikes, weight, bias)


def decode(counts: Tensor, weight: Tensor, bias: Tensor, time_steps: int) -> Tensor:
    """Return values ``[B, A]``, ``sum_p (n_p / T) w_p + b``, of spikes over time ``[B, A * P]``.

    :param weight: ``[A, P]``
    :raises UserError: ``counts`` are on no CUDA device, or of a type beyond float32
    """
    check_input(counts)
    return register.decode(counts, weight, bias, time_steps)


def fire_linear(
    x: Tensor,
    layer: FusedLayer,
    weight: Tensor,
    bias: Tensor | None,
    counts: bool = False,
) -> tuple[Tensor, ...]:
    """:func:`normalised_neuron`, then :func:`spike_linear`: currents ``[T, B, M]``, statistics.

    :param counts: return the spikes' sum over time ``[B, N]`` as well, with gradients
    :raises UserError: ``x`` is on no CUDA device, or of a type beyond float32
    """
    spikes, *rest = normalised_neuron(x, layer, counts)
    return spike_linear(spikes, weight, bias), *rest


def fire_counts(x: Tensor, layer: FusedLayer) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`normalised_neuron`, then :func:`counts`: spikes over time ``[B, N]``, statistics.

    :raises UserError: ``x`` is on no CUDA device, or of a type beyond float32
    """
    _, mean, var, counted = normalised_neuron(x, layer, counts=True)
    return counted, mean, var


def move_statistics(layers: Sequence[MovedLayer], rule: ConfidenceRule) -> None:
    """Move the statistics of several layers by one rule, in place.

    :raises UserError: they are on no CUDA device, or of a type beyond float32
    """
    check_input(layers[0].moving[0])
    register.move_statistics(layers, rule)
