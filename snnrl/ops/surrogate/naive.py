"""The specification of a spike and of the derivatives that stand for that of the step function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """A surrogate derivative and its one shape parameter.

    :param name: a key of :data:`DERIVATIVES`
    :param scale: half width of ``rectangular`` and ``triangle``, slope of the others, in units of
        the membrane potential (slopes: of its inverse); a number, a tensor without dimensions, or
        for ``learnable`` one of each time step ``[T]``, which gets a gradient
    """

    name: str
    scale: float | Tensor

    def __call__(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        """Return the spikes of a time step, see :func:`spike`."""
        name, scale = self
        now = scale[step] if isinstance(scale, Tensor) and scale.dim() else scale
        return spike(membrane, threshold, Surrogate(name, now))


Firing = Callable[[Tensor, float | Tensor, int], Tensor]
"""Called with the membrane potential ``[B, ...]``, the threshold and the number of the time step;
returns spikes, with a surrogate gradient."""


def _rectangular(distance: Tensor, width: float | Tensor) -> Tensor:
    """``1{|v - th| < w}``."""
    return (distance.abs() < width).to(distance.dtype)


def _sigmoid(distance: Tensor, slope: float | Tensor) -> Tensor:
    """``k y (1 - y)`` with ``y = sigmoid(k (v - th))``."""
    y = torch.sigmoid(slope * distance)
    return slope * y * (1 - y)


def _tanh(distance: Tensor, slope: float | Tensor) -> Tensor:
    """``1 - y^2`` with ``y = tanh(k (v - th))``; its peak is 1 whatever the slope."""
    y = torch.tanh(slope * distance)
    return 1 - y * y


def _triangle(distance: Tensor, width: float | Tensor) -> Tensor:
    """``max(0, w - |v - th|) / w^2``."""
    return torch.clamp(width - distance.abs(), min=0) / width**2


def _atan(distance: Tensor, slope: float | Tensor) -> Tensor:
    """``k / 2 / (1 + (pi/2 k (v - th))^2)``; its peak is half the slope."""
    x = slope * distance * (math.pi / 2)
    # Torch rounds a number over a tensor otherwise than a tensor over a tensor.
    return slope / 2 * (1 / (1 + x * x))


def _fast_sigmoid(distance: Tensor, slope: float | Tensor) -> Tensor:
    """``1 / (1 + k |v - th|)^2``; its peak is 1 whatever the slope."""
    y = 1 + slope * distance.abs()
    return 1 / (y * y)


def _learnable(distance: Tensor, slope: float | Tensor) -> Tensor:
    """``k / 2 (1 - y^2)`` with ``y = tanh(k (v - th))``, the derivative of ``y / 2``."""
    y = torch.tanh(slope * distance)
    return slope / 2 * (1 - y * y)


DERIVATIVES: dict[str, Callable[[Tensor, float | Tensor], Tensor]] = {
    "rectangular": _rectangular,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "triangle": _triangle,
    "atan": _atan,
    "fast_sigmoid": _fast_sigmoid,
    "learnable": _learnable,
}

LEARN_SCALES = ("learnable",)
"""Those that are a function of ``k (v - th)``, by which the scale ``k`` gets its gradient."""


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(
        membrane: Tensor, threshold: float | Tensor, scale: float | Tensor, name: str
    ) -> Tensor:
        return (membrane > threshold).to(membrane.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        membrane, ctx.threshold, ctx.scale, ctx.name = inputs
        operands = [v for v in (ctx.threshold, ctx.scale) if isinstance(v, Tensor)]
        # Torch refuses the gradient if one of these moves in place before it.
        ctx.save_for_backward(membrane, *operands)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        membrane, scale = ctx.saved_tensors[0], ctx.scale
        distance = membrane - ctx.threshold
        gradient = upstream * DERIVATIVES[ctx.name](distance, scale)
        of_threshold = of_scale = None
        if ctx.needs_input_grad[1]:
            of_threshold = -gradient.sum_to_size(ctx.threshold.shape)
        if ctx.needs_input_grad[2]:
            of_scale = (gradient * (distance / scale)).sum_to_size(scale.shape)
        return gradient, of_threshold, of_scale, None


def spike(membrane: Tensor, threshold: float | Tensor, surrogate: Surrogate) -> Tensor:
    """``s = 1{v > th}`` (strict), with ``ds/dv`` replaced by the surrogate's derivative.

    :param membrane: membrane potential, any shape
    :param threshold: firing threshold, in units of the membrane potential; a number, or a tensor
        that broadcasts with the membrane and has the gradient ``ds/dth = -ds/dv``
    :param surrogate: which derivative stands for that of the step; a scale ``k`` that learns, of
        ``learnable`` alone, has the gradient ``ds/dk = (v - th) / k ds/dv``, as the function of
        ``k (v - th)`` whose derivative stands there
    :return: spikes, 0 or 1, of the membrane's shape and dtype
    """
    name, scale = surrogate
    result: Tensor = _Spike.apply(membrane, threshold, scale, name)  # type: ignore[no-untyped-call]
    return result
