"""Calls of the C++ operators with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_int64
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.native.arguments import (
    MOST_INPUTS,
    Events,
    InferenceLayer,
    LayerPointers,
    MapPointers,
    described,
    normalisation,
    pointer,
    ready,
    too_many,
    with_numbers,
)
from snnrl.ops.native.library import library

COLUMNS = 32  # As in operators.cpp.


def _call(name: str, *arguments: Any) -> None:
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
    _call(
        "snn_neuron_forward",
        byref(described(dynamics)),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        pointer(x),
        pointer(spikes),
        pointer(counts),
    )
    return spikes


def neuron_backward(x: Tensor, gradient: Tensor, dynamics: Dynamics) -> Tensor:
    """Gradient of the currents from that of the spikes, ``[T, B, ...]``."""
    gradient, stride = _over_time(gradient, x)
    dx = torch.empty_like(x)
    _call(
        "snn_neuron_backward",
        byref(described(dynamics)),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        pointer(x),
        pointer(gradient),
        c_int64(stride),
        pointer(dx),
    )
    return dx


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
    _call(
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
    x: Tensor, layer: FusedLayer, gradient: Tensor, *, of_batch: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x[T, B, N]``, gamma and beta from that of the spikes.

    :param layer: with the statistics that were used
    :param of_batch: whether those were the batch's, so that gradients flow through them
    """
    gradient, stride = _over_time(gradient, x)
    steps, batch, features = x.shape
    assert layer.statistics is not None
    norm, (_, _, gamma, beta) = normalisation(
        *layer.statistics, layer.gamma, layer.beta, layer.eps, (steps, features)
    )
    dx, dgamma, dbeta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(beta)
    _call(
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
    )
    return dx, dgamma, dbeta


def encode(drive: Tensor, time_steps: int, threshold: float, events: Events) -> None:
    """Return the events of a drive's ``[B, M]`` spikes, of the rows ``[T * B, M]``."""
    drive = ready(drive, len(drive), drive.shape[-1])
    _call(
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
    _call("snn_events", c_int64(rows), inputs, pointer(spikes), byref(events.pointers()))
    return events


def event_product(events: Events, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``spikes @ weight.T + bias``: ``[R, N]``."""
    rows, inputs = len(events.counts), events.inputs
    weight = ready(weight, len(weight), inputs)
    bias = None if bias is None else ready(bias, len(weight))
    y = weight.new_empty(rows, len(weight))
    blocks = -(-len(weight) // COLUMNS)
    scratch = weight.new_empty(inputs * blocks * COLUMNS)
    _call(
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
    _call(
        "snn_event_gradient",
        c_int64(rows),
        inputs,
        gradient.shape[1],
        byref(events.pointers()),
        pointer(gradient),
        pointer(dweight),
    )
    return dweight


def product(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return ``gradient @ weight`` of ``[..., N]`` and ``[N, K]``: ``[..., K]``."""
    outputs, inputs = weight.shape
    weight, gradient = ready(weight, outputs, inputs), ready(gradient, *gradient.shape)
    y = gradient.new_empty(*gradient.shape[:-1], inputs)
    rows = gradient.numel() // max(outputs, 1)
    found = (pointer(gradient), pointer(weight), pointer(y))
    _call("snn_product", c_int64(rows), inputs, outputs, *found)
    return y


class Map(NamedTuple):
    """A linear map of a perceptron.

    :param weight, bias: ``[N, K]`` and ``[N]``
    :param rectifies: whether a ReLU follows
    """

    weight: Tensor
    bias: Tensor | None
    rectifies: bool


def perceptron(x: Tensor, maps: Sequence[Map]) -> list[Tensor]:
    """Return the values behind each map, ``[B, N]``, of ``x[B, K]``.

    :raises ValueError: widths that do not fit
    """
    batch = len(x)
    values = [x.new_empty(batch, len(each.weight)) for each in maps]
    described, _held = _maps(x.shape[1], maps, values)
    _call("snn_perceptron", c_int64(batch), pointer(x), len(maps), described)
    return values


def perceptron_backward(
    x: Tensor,
    maps: Sequence[Map],
    values: Sequence[Tensor | None],
    gradient: Tensor,
    *,
    of_input: bool,
    of_weights: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None], list[Tensor]]:
    """Return the gradients of x, of each weight, and of what each map adds up (whose sum over the
    batch is that of its bias), from that of the last values ``[B, N]``.

    :param values: those of :func:`perceptron`; the last may be ``None`` where no ReLU is last
    :param of_input, of_weights: which of them are wanted
    """
    batch = len(x)
    last = ready(gradient, batch, len(maps[-1].weight))
    if maps[-1].rectifies and last.data_ptr() == gradient.data_ptr():
        # The operator writes into it.
        last = last.clone()
    inner = [x.new_empty(batch, len(each.weight)) for each in maps[:-1]]
    dx = torch.empty_like(x) if of_input else None
    dweights = [
        torch.empty_like(each.weight) if wanted else None
        for each, wanted in zip(maps, of_weights, strict=True)
    ]
    described, _held = _maps(x.shape[1], maps, values, [*inner, last], dweights)
    _call("snn_perceptron_back", c_int64(batch), pointer(x), len(maps), described, pointer(dx))
    return dx, dweights, [*inner, last]


def _maps(
    inputs: int,
    maps: Sequence[Map],
    values: Sequence[Tensor | None],
    gradients: Sequence[Tensor] = (),
    dweights: Sequence[Tensor | None] = (),
) -> tuple[Any, list[Any]]:
    """Return the maps as C++ reads them, and what must live as long."""
    described, held = (MapPointers * len(maps))(), list[Any]()
    for i, (to, each) in enumerate(zip(described, maps, strict=True)):
        outputs = len(each.weight)
        weight = ready(each.weight, outputs, inputs)
        bias = None if each.bias is None else ready(each.bias, outputs)
        to.inputs, to.outputs, to.rectifies = inputs, outputs, each.rectifies
        to.weight, to.bias, to.values = weight.data_ptr(), pointer(bias), pointer(values[i])
        if gradients:
            to.g, to.dweight = gradients[i].data_ptr(), pointer(dweights[i])
        held += [weight, bias]
        inputs = outputs
    return described, held


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
        dynamics = described(with_numbers(layer.dynamics))
        to.dynamics = ctypes.pointer(dynamics)
        held.append((weight, bias, dynamics))
        if layer.normalisation is not None:
            to.normalisation, values = normalisation(
                *layer.normalisation, layer.eps, (time_steps, inputs)
            )
            held.append(values)
    counts = drive.new_empty(len(drive), inputs)
    _call(
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
