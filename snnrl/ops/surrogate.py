"""Spikes forward, surrogate gradients backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """A surrogate derivative and its one shape parameter.

    :param name: a key of :data:`DERIVATIVES`
    :param scale: half width of ``rectangular`` and ``triangle``, slope of ``sigmoid`` and
        ``tanh``, in units of the membrane potential (slopes: of its inverse)
    """

    name: str
    scale: float

    def __call__(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        """Return the spikes of a time step, see :func:`spike`; the same in every step."""
        return spike(membrane, threshold, self)


Firing = Callable[[Tensor, float | Tensor, int], Tensor]
"""Called with the membrane potential ``[B, ...]``, the threshold and the number of the time step;
returns spikes, with a surrogate gradient."""


def _rectangular(distance: Tensor, width: float) -> Tensor:
    """``1{|v - th| < w}``."""
    return (distance.abs() < width).to(distance.dtype)


def _sigmoid(distance: Tensor, slope: float) -> Tensor:
    """``k y (1 - y)`` with ``y = sigmoid(k (v - th))``."""
    y = torch.sigmoid(slope * distance)
    return slope * y * (1 - y)


def _tanh(distance: Tensor, slope: float) -> Tensor:
    """``1 - y^2`` with ``y = tanh(k (v - th))``; its peak is 1 whatever the slope."""
    y = torch.tanh(slope * distance)
    return 1 - y * y


def _triangle(distance: Tensor, width: float) -> Tensor:
    """``max(0, w - |v - th|) / w^2``."""
    return torch.clamp(width - distance.abs(), min=0) / width**2


DERIVATIVES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "rectangular": _rectangular,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "triangle": _triangle,
}


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(membrane: Tensor, threshold: float | Tensor, surrogate: Surrogate) -> Tensor:
        return (membrane > threshold).to(membrane.dtype)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, float | Tensor, Surrogate], output: Tensor
    ) -> None:
        membrane, threshold, ctx.surrogate = inputs
        tensors = (membrane, threshold) if isinstance(threshold, Tensor) else (membrane,)
        ctx.number = None if isinstance(threshold, Tensor) else threshold
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        membrane, *threshold = ctx.saved_tensors
        distance = membrane - (threshold[0] if threshold else ctx.number)
        derivative = DERIVATIVES[ctx.surrogate.name]
        return upstream * derivative(distance, ctx.surrogate.scale), None, None


def spike(membrane: Tensor, threshold: float | Tensor, surrogate: Surrogate) -> Tensor:
    """``s = 1{v > th}`` (strict), with ``ds/dv`` replaced by the surrogate's derivative.

    :param membrane: membrane potential, any shape
    :param threshold: firing threshold, a number or a tensor of shape ``[]``, in units of the
        membrane potential; it gets no gradient
    :param surrogate: which derivative stands for that of the step
    :return: spikes, 0 or 1, of the membrane's shape and dtype
    """
    result: Tensor = _Spike.apply(membrane, threshold, surrogate)  # type: ignore[no-untyped-call]
    return result
