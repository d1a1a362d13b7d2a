"""Calls of the C++ operators with tensors: shapes and types are checked here, once."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_int64, c_void_p
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.native.library import library

# In the order of the enumerations in operators.cpp.
NEURONS = ("lif", "clif", "dn")
SURROGATES = ("rectangular", "sigmoid", "tanh", "triangle")  # as in snnrl.ops.backend

COLUMNS = 32  # as in operators.cpp

MOST_INPUTS, MOST_EVENTS = 2**16, 2**31 - 1


class _Constants(ctypes.Structure):
    _fields_ = tuple(
        (name, c_float)
        for name in (
            "threshold",
            "decay",
            "current_decay",
            "tv",
            "tu",
            "tr",
            "ts",
            "scale",
            "reset_gradient",
        )
    )


class Statistics(NamedTuple):
    """Of a normalised layer: each ``[N]``, and whether they are those of the batch."""

    mean: Tensor
    var: Tensor
    of_batch: bool


def _too_many(rows: int, inputs: int) -> UserError:
    return UserError(
        f"kernel=native: {rows} x {inputs} spikes in one pass are too many; expected at "
        f"most {MOST_INPUTS} inputs of a layer, a smaller batch, or kernel=naive"
    )


class Events(NamedTuple):
    """Where the rows of a matrix of spikes ``[R, K]`` are not zero.

    :param indices: of row r ``counts[r]`` of them, from ``starts[r]`` on
    :param starts, counts: ``[R]``
    :param inputs: K
    """

    indices: Tensor
    starts: Tensor
    counts: Tensor
    inputs: int

    @classmethod
    def room_for(cls, rows: int, inputs: int) -> Events:
        """Memory for the events of so many rows; only what events fill is ever touched.

        :raises UserError: more than the indices can count
        """
        if inputs > MOST_INPUTS or rows * inputs > MOST_EVENTS:
            raise _too_many(rows, inputs)
        # Vectors are stored whole: the last one may end behind the last event.
        indices = torch.empty(rows * inputs + 16, dtype=torch.uint16)
        starts, counts = torch.empty(2, rows, dtype=torch.int32).unbind(0)
        return cls(indices, starts, counts, inputs)

    def pointers(self) -> _EventPointers:
        """For the C++ side; they live as long as this does."""
        return _EventPointers(*(tensor.data_ptr() for tensor in self[:3]))


class _EventPointers(ctypes.Structure):
    _fields_ = (("indices", c_void_p), ("starts", c_void_p), ("counts", c_void_p))


class InferenceLayer(NamedTuple):
    """A layer of a network that only infers.

    :param weight, bias: of its linear map, ``[N, K]`` and ``[N]``
    :param normalisation: mean, variance, gamma and beta ``[N]``; ``None``: there is none
    :param eps: added to the variance
    :param dynamics: of its neurons
    """

    weight: Tensor
    bias: Tensor | None
    normalisation: tuple[Tensor, Tensor, Tensor, Tensor] | None
    eps: float
    dynamics: Dynamics


class _Layer(ctypes.Structure):
    _fields_ = (
        ("neuron", c_int),
        ("constants", c_void_p),
        ("inputs", c_int),
        ("outputs", c_int),
        *((name, c_void_p) for name in ("weight", "bias", "mean", "var", "gamma", "beta")),
        ("eps", c_float),
    )


@lru_cache(maxsize=64)
def _constants(d: Dynamics) -> tuple[int, int, ctypes.Array[_Constants]]:
    constants = _Constants(
        d.threshold,
        d.decay,
        d.current_decay,
        *d.parameters,
        d.surrogate.scale,
        0.0 if d.detach_reset else 1.0,
    )
    return NEURONS.index(d.neuron), SURROGATES.index(d.surrogate.name), (_Constants * 1)(constants)


def _ready(tensor: Tensor, *shape: int) -> Tensor:
    """The tensor as C++ reads it: contiguous.

    :raises UserError: not float32 on a CPU
    :raises ValueError: not of this shape
    """
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise UserError(
            f"kernel=native: takes float32 on a CPU, not {tensor.dtype} on {tensor.device}; "
            "expected kernel=naive for these"
        )
    if tensor.shape != shape:
        raise ValueError(f"expected a tensor of shape {shape}, not {tuple(tensor.shape)}")
    return tensor.contiguous()


def _pointer(tensor: Tensor | None) -> c_void_p | None:
    """Of a tensor that is ready and that the caller holds."""
    return None if tensor is None else c_void_p(tensor.data_ptr())


def _call(name: str, *arguments: Any) -> None:
    """:raises MemoryError: there is no room for what the operator needs for itself"""
    if getattr(library(), name)(*arguments):
        raise MemoryError(f"kernel=native: no memory for {name}")


def _over_time(gradient: Tensor, x: Tensor) -> tuple[Tensor, int]:
    """The gradient and the distance of its time steps, 0 where all are the same array."""
    if gradient.shape == x.shape and gradient.stride(0) == 0 and gradient[0].is_contiguous():
        return gradient, 0
    gradient = _ready(gradient, *x.shape)
    return gradient, gradient[0].numel()


def neuron_forward(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Contiguous currents ``[T, B, ...]`` -> spikes."""
    neuron, _, constants = _constants(dynamics)
    x = _ready(x, *x.shape)
    spikes = torch.empty_like(x)
    _call(
        "snn_neuron_forward",
        neuron,
        byref(constants),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        _pointer(x),
        _pointer(spikes),
    )
    return spikes


def neuron_backward(x: Tensor, gradient: Tensor, dynamics: Dynamics) -> Tensor:
    """Gradient of the currents from that of the spikes, ``[T, B, ...]``."""
    neuron, surrogate, constants = _constants(dynamics)
    gradient, stride = _over_time(gradient, x)
    dx = torch.empty_like(x)
    _call(
        "snn_neuron_backward",
        neuron,
        surrogate,
        byref(constants),
        len(x),
        c_int64(x.numel() // max(len(x), 1)),
        _pointer(x),
        _pointer(gradient),
        c_int64(stride),
        _pointer(dx),
    )
    return dx


def normalised_forward(
    x: Tensor,
    statistics: tuple[Tensor, Tensor] | None,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    dynamics: Dynamics,
    *,
    spikes: Tensor | None = None,
    events: Events | None = None,
    totals: Tensor | None = None,
) -> Statistics:
    """Contiguous ``x[T, B, N]`` -> the statistics that were used, and what is asked for.

    :param spikes: written if given, ``[T, B, N]``
    :param events: written if given, of the rows ``[T * B, N]``
    :param totals: written if given, spikes over all time steps ``[B, N]``
    """
    neuron, _, constants = _constants(dynamics)
    steps, batch, features = x.shape
    x, gamma, beta = _ready(x, *x.shape), _ready(gamma, features), _ready(beta, features)
    if statistics is None:
        mean, var = torch.empty_like(gamma), torch.empty_like(gamma)
    else:
        mean, var = (_ready(value, features) for value in statistics)
    _call(
        "snn_normalised_forward",
        neuron,
        byref(constants),
        steps,
        c_int64(batch),
        c_int64(features),
        c_int(statistics is None),
        _pointer(x),
        _pointer(mean),
        _pointer(var),
        _pointer(gamma),
        _pointer(beta),
        c_float(eps),
        _pointer(spikes),
        None if events is None else byref(events.pointers()),
        _pointer(totals),
    )
    return Statistics(mean, var, statistics is None)


def normalised_backward(
    x: Tensor,
    statistics: Statistics,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    gradient: Tensor,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x[T, B, N]``, gamma and beta from that of the spikes."""
    neuron, surrogate, constants = _constants(dynamics)
    gradient, stride = _over_time(gradient, x)
    steps, batch, features = x.shape
    gamma, beta = _ready(gamma, features), _ready(beta, features)
    dx, dgamma, dbeta = torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(beta)
    _call(
        "snn_normalised_backward",
        neuron,
        surrogate,
        byref(constants),
        steps,
        c_int64(batch),
        c_int64(features),
        c_int(statistics.of_batch),
        _pointer(x),
        _pointer(statistics.mean),
        _pointer(statistics.var),
        _pointer(gamma),
        _pointer(beta),
        c_float(eps),
        _pointer(gradient),
        c_int64(stride),
        _pointer(dx),
        _pointer(dgamma),
        _pointer(dbeta),
    )
    return dx, dgamma, dbeta


def encode(
    drive: Tensor,
    time_steps: int,
    threshold: float,
    *,
    spikes: Tensor | None = None,
    events: Events | None = None,
) -> None:
    """Drive ``[B, M]`` -> what is given: contiguous spikes ``[T, B, M]``, events."""
    drive = _ready(drive, len(drive), drive.shape[-1])
    _call(
        "snn_encode",
        time_steps,
        c_int64(len(drive)),
        drive.shape[1],
        c_float(threshold),
        _pointer(drive),
        _pointer(spikes),
        None if events is None else byref(events.pointers()),
    )


def find_events(spikes: Tensor) -> Events:
    """The events of spikes ``[R, K]``."""
    rows, inputs = spikes.shape
    spikes = _ready(spikes, rows, inputs)
    events = Events.room_for(rows, inputs)
    _call("snn_events", c_int64(rows), inputs, _pointer(spikes), byref(events.pointers()))
    return events


def event_product(events: Events, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``spikes @ weight.T + bias``: ``[R, N]``."""
    rows, inputs = len(events.counts), events.inputs
    weight = _ready(weight, len(weight), inputs)
    bias = None if bias is None else _ready(bias, len(weight))
    y = weight.new_empty(rows, len(weight))
    blocks = -(-len(weight) // COLUMNS)
    scratch = weight.new_empty(inputs * blocks * COLUMNS)
    _call(
        "snn_event_product",
        c_int64(rows),
        inputs,
        len(weight),
        byref(events.pointers()),
        _pointer(weight),
        _pointer(bias),
        _pointer(y),
        _pointer(scratch),
    )
    return y


def event_gradient(events: Events, gradient: Tensor) -> Tensor:
    """``gradient.T @ spikes`` from a gradient ``[R, N]``: ``[N, K]``."""
    rows, inputs = len(events.counts), events.inputs
    gradient = _ready(gradient, rows, gradient.shape[-1])
    dweight = gradient.new_empty(gradient.shape[1], inputs)
    _call(
        "snn_event_gradient",
        c_int64(rows),
        inputs,
        gradient.shape[1],
        byref(events.pointers()),
        _pointer(gradient),
        _pointer(dweight),
    )
    return dweight


def infer(
    drive: Tensor, time_steps: int, threshold: float | None, layers: Sequence[InferenceLayer]
) -> Tensor:
    """``drive[B, M]`` through all layers -> spikes of the last over time ``[B, N]``.

    :param threshold: of the encoder; ``None``: the drive itself is the input of every step
    """
    inputs = layers[0].weight.shape[1]
    drive = _ready(drive, len(drive), inputs)
    described, held = (_Layer * len(layers))(), []
    for to, layer in zip(described, layers, strict=True):
        if inputs > MOST_INPUTS:
            raise _too_many(time_steps * len(drive), inputs)
        to.neuron, _, constants = _constants(layer.dynamics)
        weight = _ready(layer.weight, len(layer.weight), inputs)
        to.inputs, to.outputs = inputs, len(weight)
        inputs = len(weight)
        rest = [
            None if tensor is None else _ready(tensor, inputs)
            for tensor in (layer.bias, *(layer.normalisation or [None] * 4))
        ]
        to.weight = weight.data_ptr()
        to.bias, to.mean, to.var, to.gamma, to.beta = (
            None if tensor is None else tensor.data_ptr() for tensor in rest
        )
        to.constants, to.eps = ctypes.addressof(constants), layer.eps
        held.append((weight, rest, constants))
    totals = drive.new_empty(len(drive), inputs)
    _call(
        "snn_infer",
        time_steps,
        c_int64(len(drive)),
        drive.shape[1],
        c_int(threshold is not None),
        c_float(threshold or 0.0),
        _pointer(drive),
        len(layers),
        described,
        _pointer(totals),
    )
    return totals
