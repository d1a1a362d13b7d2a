"""Calls of the C++ operators with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_int64
from typing import Any

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.native.arguments import (
    MOST_INPUTS,
    Events,
    InferenceLayer,
    LayerPointers,
    described,
    normalisation,
    pointer,
    ready,
    too_many,
    with_numbers,
)
from snnrl.ops.native.library import library

COLUMNS = 32  # As in operators.cpp.


def call(name: str, *arguments: Any) -> None:
    """Call an operator.

    :raises MemoryError: there is no room for what the operator needs for itself
    :raises TypeError: a neuron's constants are not those of its step.hpp
    :raises UserError: the system starts no more threads
    """
    # As the enumeration Status in operators.cpp.
    status = getattr(library(), name)(*arguments)
    if status == 2:
        raise TypeError(f"{name}: number of constants differs from that in step.hpp")
    if status == 3:
        raise UserError("threads: the system starts no more of them; expected fewer")
    if status:
        raise MemoryError(f"kernel=native: no memory for {name}")


def use_threads(number: int) -> None:
    """Set how many threads of this process share an operator's work: at first as many as torch has.

    Results are the same bits for every number. ``torch.set_num_threads`` is for torch's operators
    alone.

    :raises UserError: below 1
    """
    if number < 1:
        raise UserError(f"use_threads({number}): expected 1 or more")
    library().snn_use_threads(number)


def _over_time(gradient: Tensor, x: Tensor) -> tuple[Tensor, int]:
    """Return the gradient and the stride of its time steps, 0 if all are the same array."""
    if gradient.shape == x.shape and gradient.stride(0) == 0 and gradient[0].is_contiguous():
        return gradient, 0
    gradient = ready(gradient, *x.shape)
    return gradient, gradient[0].numel()


def neuron_forward(x: Tensor, dynamics: Dynamics, counts: Tensor | None = None) -> Tensor:
    """Contiguous currents ``[T, B, ...]`` -> spikes.

    :param counts: written if given, spikes over all time steps ``[B, ...]``
    """
    x = ready(x, *x.shape)
    spikes = torch.empty_like(x)
    call(
        "snn_neuron_forward",
        byref(described(dynamics)),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        pointer(x),
        pointer(spikes),
        pointer(counts),
    )
    return spikes


def _room_for_learned(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Allocate the gradients of a dynamics' constants and of its scale in each time step of
    ``x[T, ...]``.

    :raises ValueError: a scale for each of fewer steps
    """
    scale = dynamics.surrogate.scale
    if isinstance(scale, tuple) and 1 < len(scale) < len(x):
        raise ValueError(f"expected a scale for each of {len(x)} time steps, not {len(scale)}")
    return x.new_empty(len(dynamics.constants) + len(x))


def neuron_backward(
    x: Tensor, gradient: Tensor, dynamics: Dynamics, *, learns: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradient of the currents from that of the spikes, ``[T, B, ...]``, and of what learns."""
    gradient, stride = _over_time(gradient, x)
    dx, room = torch.empty_like(x), _room_for_learned(x, dynamics)
    dlearned = room if learns else None
    call(
        "snn_neuron_backward",
        byref(described(dynamics)),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        pointer(x),
        pointer(gradient),
        c_int64(stride),
        pointer(dx),
        pointer(dlearned),
    )
    return dx, dlearned


def normalised_forward(
    x: Tensor,
    layer: FusedLayer,
    *,
    spikes: Tensor | None = None,
    events: Events | None = None,
    counts: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``x[T, B, N]`` -> the mean and variance that were used, and what is asked for.

    :param spikes: written if given, ``[T, B, N]``
    :param events: written if given, of the rows ``[T * B, N]``
    :param counts: written if given, spikes over all time steps ``[B, N]``
    """
    steps, batch, features = x.shape
    x = ready(x, *x.shape)
    if layer.statistics is None:
        size = (steps, features) if layer.per_step else (features,)
        mean, var = torch.empty(2, *size).unbind(0)
    else:
        mean, var = layer.statistics
    norm, (mean, var, *_held) = normalisation(
        mean, var, layer.gamma, layer.beta, layer.eps, (steps, features)
    )
    call(
        "snn_normalised_forward",
        byref(described(layer.dynamics)),
        steps,
        c_int64(batch),
        c_int64(features),
        c_int(layer.statistics is None),
        pointer(x),
        pointer(mean),
        pointer(var),
        byref(norm),
        pointer(spikes),
        None if events is None else byref(events.pointers()),
        pointer(counts),
    )
    return mean, var


def normalised_backward(
    x: Tensor, layer: FusedLayer, gradient: Tensor, *, of_batch: bool, learns: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of ``x[T, B, N]``, gamma, beta and what learns from that of the spikes.

    :param layer: with the statistics that were used
    :param of_batch: whether those were the batch's, so that gradients flow through them
    :param learns: whether something of the dynamics does
    """
    gradient, stride = _over_time(gradient, x)
    steps, batch, features = x.shape
    assert layer.statistics is not None
    norm, (_, _, gamma, beta) = normalisation(
        *layer.statistics, layer.gamma, layer.beta, layer.eps, (steps, features)
    )
    dx, dgamma, dbeta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(beta)
    room = _room_for_learned(x, layer.dynamics)
    dlearned = room if learns else None
    call(
        "snn_normalised_backward",
        byref(described(layer.dynamics)),
        steps,
        c_int64(batch),
        c_int64(features),
        c_int(of_batch),
        c_int(layer.renormalises),
        pointer(x),
        byref(norm),
        pointer(gradient),
        c_int64(stride),
        pointer(dx),
        pointer(dgamma),
        pointer(dbeta),
        pointer(dlearned),
    )
    return dx, dgamma, dbeta, dlearned


def encode(drive: Tensor, time_steps: int, threshold: float, events: Events) -> None:
    """Return the events of a drive's ``[B, M]`` spikes, of the rows ``[T * B, M]``."""
    drive = ready(drive, len(drive), drive.shape[-1])
    call(
        "snn_encode",
        time_steps,
        c_int64(len(drive)),
        drive.shape[1],
        c_float(threshold),
        pointer(drive),
        byref(events.pointers()),
    )


def find_events(spikes: Tensor) -> Events:
    """Return the events of spikes ``[R, K]``."""
    rows, inputs = spikes.shape
    spikes = ready(spikes, rows, inputs)
    events = Events.room_for(rows, inputs)
    call("snn_events", c_int64(rows), inputs, pointer(spikes), byref(events.pointers()))
    return events


def event_product(events: Events, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``spikes @ weight.T + bias``: ``[R, N]``."""
    rows, inputs = len(events.counts), events.inputs
    weight = ready(weight, len(weight), inputs)
    bias = None if bias is None else ready(bias, len(weight))
    y = weight.new_empty(rows, len(weight))
    blocks = -(-len(weight) // COLUMNS)
    scratch = weight.new_empty(inputs * blocks * COLUMNS)
    call(
        "snn_event_product",
        c_int64(rows),
        inputs,
        len(weight),
        byref(events.pointers()),
        pointer(weight),
        pointer(bias),
        pointer(y),
        pointer(scratch),
    )
    return y


def event_gradient(events: Events, gradient: Tensor) -> Tensor:
    """Return ``gradient.T @ spikes`` from a gradient ``[R, N]``: ``[N, K]``."""
    rows, inputs = len(events.counts), events.inputs
    gradient = ready(gradient, rows, gradient.shape[-1])
    dweight = gradient.new_empty(gradient.shape[1], inputs)
    call(
        "snn_event_gradient",
        c_int64(rows),
        inputs,
        gradient.shape[1],
        byref(events.pointers()),
        pointer(gradient),
        pointer(dweight),
    )
    return dweight


def infer(
    drive: Tensor,
    time_steps: int,
    threshold: float | None,
    layers: Sequence[InferenceLayer],
) -> Tensor:
    """``drive[B, M]`` through all layers -> spikes of the last over time ``[B, N]``.

    :param threshold: of the encoder; ``None``: the drive itself is the input of every step
    """
    inputs = layers[0].weight.shape[1]
    drive = ready(drive, len(drive), inputs)
    pointers, held = (LayerPointers * len(layers))(), list[Any]()
    for to, layer in zip(pointers, layers, strict=True):
        if inputs > MOST_INPUTS:
            raise too_many(time_steps * len(drive), inputs)
        weight = ready(layer.weight, len(layer.weight), inputs)
        to.inputs, to.outputs = inputs, len(weight)
        inputs = len(weight)
        bias = None if layer.bias is None else ready(layer.bias, inputs)
        to.weight, to.bias = weight.data_ptr(), pointer(bias)
        dynamics = described(with_numbers(layer.dynamics)[0])
        to.dynamics = ctypes.pointer(dynamics)
        held.append((weight, bias, dynamics))
        if layer.normalisation is not None:
            to.normalisation, values = normalisation(
                *layer.normalisation, layer.eps, (time_steps, inputs)
            )
            held.append(values)
    counts = drive.new_empty(len(drive), inputs)
    call(
        "snn_infer",
        time_steps,
        c_int64(len(drive)),
        drive.shape[1],
        c_int(threshold is not None),
        c_float(threshold or 0.0),
        pointer(drive),
        len(layers),
        pointers,
        pointer(counts),
    )
    return counts
