"""Arguments of the C++ operators: dynamics, events and layers, checked and laid out."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.ops.dynamics import FUSED_NEURONS, FUSED_SURROGATES, OPERATORS, Dynamics
from snnrl.ops.surrogate import LEARN_SCALES, Surrogate

MOST_INPUTS, MOST_EVENTS = 2**16, 2**31 - 1

PADDING = 16  # As in events.hpp.


class DynamicsPointers(ctypes.Structure):
    """A :class:`Dynamics` for the C++ side."""

    _fields_ = (
        ("neuron", c_int),
        ("surrogate", c_int),
        ("count", c_int),
        ("constants", POINTER(c_float)),
        ("threshold", c_float),
        ("scales", POINTER(c_float)),
        ("scale_stride", c_int),
        ("reset_gradient", c_float),
    )


def too_many(rows: int, inputs: int) -> UserError:
    """Return the error to raise for more spikes in one pass than indices can count."""
    return UserError(
        f"kernel=native: {rows} x {inputs} spikes in one pass are too many; expected at "
        f"most {MOST_INPUTS} inputs of a layer, a smaller batch, or kernel=naive"
    )


class Events(NamedTuple):
    """Nonzero positions of a matrix of spikes ``[R, K]``.

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
        """Allocate memory for the events of so many rows; only the part that events fill is
        touched.

        :raises UserError: more than the indices can count
        """
        if inputs > MOST_INPUTS or rows * (inputs + PADDING) > MOST_EVENTS:
            raise too_many(rows, inputs)
        indices = torch.empty(rows * (inputs + PADDING), dtype=torch.uint16)
        starts, counts = torch.empty(2, rows, dtype=torch.int32).unbind(0)
        return cls(indices, starts, counts, inputs)

    def pointers(self) -> _EventPointers:
        """Return pointers for the C++ side, valid as long as this object."""
        return _EventPointers(*(tensor.data_ptr() for tensor in self[:3]))


class _EventPointers(ctypes.Structure):
    _fields_ = (("indices", c_void_p), ("starts", c_void_p), ("counts", c_void_p))


class InferenceLayer(NamedTuple):
    """A layer of a network used only for inference.

    :param weight, bias: of its linear map, ``[N, K]`` and ``[N]``
    :param normalisation: mean and variance, gamma and beta, ``[N]``, or ``[T, N]`` where they
        differ between steps; ``None``: there is none
    :param eps: added to the variance
    :param dynamics: of its neurons
    """

    weight: Tensor
    bias: Tensor | None
    normalisation: tuple[Tensor, Tensor, Tensor, Tensor] | None
    eps: float
    dynamics: Dynamics


class NormalisationPointers(ctypes.Structure):
    """Mean, variance, gamma and beta for the C++ side; null where there are none."""

    _fields_ = (
        *((name, c_void_p) for name in ("mean", "var", "gamma", "beta")),
        ("eps", c_float),
        ("statistics_stride", c_int64),
        ("affine_stride", c_int64),
    )


def normalisation(
    mean: Tensor, var: Tensor, gamma: Tensor, beta: Tensor, eps: float, shape: tuple[int, int]
) -> tuple[NormalisationPointers, list[Tensor]]:
    """Return pointers to what normalises a layer, and the tensors that must live as long.

    :param mean, var: both ``[N]``, or ``[T, N]`` for those of each step
    :param gamma, beta: both ``[N]`` or ``[T, N]``
    :param shape: ``(T, N)``
    :raises UserError: not float32 on a CPU
    :raises ValueError: of another shape
    """
    values, strides = [], []
    for first, second in ((mean, var), (gamma, beta)):
        size = shape if first.dim() == 2 else shape[1:]
        values += [ready(first, *size), ready(second, *size)]
        strides.append(shape[1] if first.dim() == 2 else 0)
    pointers = (value.data_ptr() for value in values)
    return NormalisationPointers(*pointers, eps, *strides), values


class MapPointers(ctypes.Structure):
    """A linear map of a perceptron for the C++ side; null where a pass needs none."""

    _fields_ = (
        ("inputs", c_int),
        ("outputs", c_int),
        ("rectifies", c_int),
        *((name, c_void_p) for name in ("weight", "bias", "values", "g", "dweight")),
    )


class LayerPointers(ctypes.Structure):
    """An :class:`InferenceLayer` for the C++ side."""

    _fields_ = (
        ("dynamics", POINTER(DynamicsPointers)),
        ("inputs", c_int),
        ("outputs", c_int),
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("normalisation", NormalisationPointers),
    )


LEARN_CONSTANTS = [
    neuron
    for neuron in FUSED_NEURONS
    if "constants_back" in (OPERATORS / neuron / "step.hpp").read_text()
]
"""Neurons whose step has the gradients of their constants."""


def with_numbers(d: Dynamics) -> tuple[Dynamics, Tensor | None]:
    """Return a dynamics of numbers, and what learns of it as one tensor: constants, then the
    surrogate's scale in each time step (where that does not learn, as many as there are).

    :raises UserError: something is to get a gradient that has none here
    """
    threshold, (surrogate, scale) = d.threshold, d.surrogate
    if d.learns():
        return _learned(d)
    if not (isinstance(threshold, Tensor) or isinstance(scale, Tensor)):
        return d, None
    numbers = d._replace(
        threshold=_number("threshold", threshold),
        surrogate=Surrogate(surrogate, _number("scale of a surrogate", scale)),
    )
    return numbers, None


def _learned(d: Dynamics) -> tuple[Dynamics, Tensor | None]:
    """See :func:`with_numbers`."""
    threshold, (surrogate, scale) = d.threshold, d.surrogate
    constants = tuple(
        each if d.neuron in LEARN_CONSTANTS else _number("constants of a neuron", each)
        for each in d.constants
    )
    if surrogate not in LEARN_SCALES:
        scale = _number("scale of a surrogate", scale)
    parts = [torch.as_tensor(each, dtype=torch.float32).view(-1) for each in (*constants, scale)]
    learned = torch.cat(parts)
    values = learned.tolist()
    numbers = d._replace(
        threshold=_number("threshold", threshold),
        constants=tuple(values[: len(constants)]),
        surrogate=Surrogate(surrogate, tuple(values[len(constants) :])),  # type: ignore[arg-type]
    )
    return numbers, learned if learned.requires_grad else None


def _number(name: str, value: float | Tensor) -> float:
    if isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled():
        raise UserError(
            f"kernel=native: cannot compute the gradient of the {name}; expected one that "
            "requires none, or "
            "kernel=naive"
        )
    return float(value)


@lru_cache(maxsize=64)
def described(d: Dynamics) -> DynamicsPointers:
    """Return a dynamics with numbers, as C++ reads it."""
    scale = d.surrogate.scale
    scales = scale if isinstance(scale, tuple) else (float(scale),)
    constants = [float(each) for each in d.constants]
    # The library is compiled with FUSED_NEURONS and FUSED_SURROGATES in their order.
    return DynamicsPointers(
        FUSED_NEURONS.index(d.neuron),
        FUSED_SURROGATES.index(d.surrogate.name),
        len(constants),
        (c_float * len(constants))(*constants),
        d.threshold,
        (c_float * len(scales))(*scales),
        0 if len(scales) == 1 else 1,
        0.0 if d.detach_reset else 1.0,
    )


def ready(tensor: Tensor, *shape: int) -> Tensor:
    """Return the tensor as C++ reads it: contiguous.

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


def pointer(tensor: Tensor | None) -> c_void_p | None:
    """Return the pointer of a ready tensor, which the caller must keep alive."""
    return None if tensor is None else c_void_p(tensor.data_ptr())
