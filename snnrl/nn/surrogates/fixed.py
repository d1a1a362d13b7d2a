"""Surrogates with one shape parameter that is not learned; the formulas stand in
:mod:`snnrl.ops.surrogate`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.registry import register
from snnrl.nn.schedule import Scheduled
from snnrl.nn.shape import LayerShape
from snnrl.nn.surrogates.base import Surrogate
from snnrl.ops import surrogate as ops
from snnrl.parameters import Above


class FixedSurrogate(Surrogate, Scheduled):
    """The same derivative in every layer and step; its scale can change over training.

    With ``scale_end`` the scale goes linearly from ``scale`` to it over the training steps. It is
    then a buffer: the operators read it at each call, and a saved agent has the scale of its last
    update. Spikes do not depend on it, only their gradients do. Shallow slopes are reported to help
    reinforcement learning (arXiv 2510.24461); which way to go is left to the user.

    :param shape: of the layer
    :param scale: half width (rectangular, triangle) or slope (the others)
    :param scale_end: scale at the end of training (null: constant)
    :raises UserError: an end that is the start
    """

    derivative: ClassVar[str]
    """A key of :data:`snnrl.ops.surrogate.DERIVATIVES`."""

    schedules = ("scale_end",)

    scale_now: Tensor

    def __init__(
        self,
        shape: LayerShape,
        scale: Annotated[float, Above(0)],
        scale_end: Annotated[float, Above(0)] | None = None,
    ):
        super().__init__(shape)
        if scale_end == scale:
            raise UserError(
                f"surrogate.scale_end={scale_end}: is surrogate.scale, so nothing would change; "
                "expected another number, or null for a constant scale"
            )
        self.scale, self.scale_end = scale, scale_end
        if scale_end is not None:
            self.register_buffer("scale_now", torch.tensor(scale, dtype=torch.float32))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        if self.scale_end is None:
            return f"scale={self.scale:g}"
        return f"scale={self.scale:g} to {self.scale_end:g}, now {self.scale_now.item():g}"

    def set_progress(self, remaining: float) -> None:
        if self.scale_end is not None:
            # A rollout can go beyond the last step.
            left = min(max(remaining, 0.0), 1.0)
            self.scale_now.fill_(self.scale_end + (self.scale - self.scale_end) * left)

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        return ops.spike(membrane, threshold, self.operand(threshold))

    def operand(self, threshold: float | Tensor) -> ops.Surrogate:
        return ops.Surrogate(
            self.derivative, self.scale if self.scale_end is None else self.scale_now
        )


@register("surrogate", "rectangular")
class Rectangular(FixedSurrogate):
    """``1{|v - th| < scale}``.

    :param scale: half width, in units of the membrane potential
    """

    derivative = "rectangular"

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 0.5, **schedule: Any):
        super().__init__(shape, scale, **schedule)


@register("surrogate", "sigmoid")
class Sigmoid(FixedSurrogate):
    """``scale y (1 - y)`` with ``y = sigmoid(scale (v - th))``.

    :param scale: slope of the sigmoid (one function with tanh at 4 and 2)
    """

    derivative = "sigmoid"

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 4.0, **schedule: Any):
        super().__init__(shape, scale, **schedule)


@register("surrogate", "tanh")
class Tanh(FixedSurrogate):
    """``1 - y^2`` with ``y = tanh(scale (v - th))``: at 2 the function that ``sigmoid`` is at 4.

    :param scale: slope of the tanh (one function with sigmoid at 2 and 4)
    """

    derivative = "tanh"

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 2.0, **schedule: Any):
        super().__init__(shape, scale, **schedule)


@register("surrogate", "triangle")
class Triangle(FixedSurrogate):
    """``max(0, scale - |v - th|) / scale^2``.

    :param scale: half width, in units of the membrane potential
    """

    derivative = "triangle"

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 0.5, **schedule: Any):
        super().__init__(shape, scale, **schedule)


@register("surrogate", "atan")
class Atan(FixedSurrogate):
    """``scale / 2 / (1 + (pi/2 scale (v - th))^2)``, the derivative of an arctangent.

    Source: Fang et al. (2021, arXiv 2007.05785), whose slope is 2.

    :param scale: slope; half of it is the derivative at the threshold
    """

    derivative = "atan"

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 2.0, **schedule: Any):
        super().__init__(shape, scale, **schedule)


@register("surrogate", "fast_sigmoid")
class FastSigmoid(FixedSurrogate):
    """``1 / (1 + scale |v - th|)^2``: 1 at the threshold whatever the slope.

    Source: SuperSpike (Zenke & Ganguli 2018, arXiv 1705.11146).

    :param scale: slope, in units of the inverse membrane potential
    """

    derivative = "fast_sigmoid"

    def __init__(
        self, shape: LayerShape, scale: Annotated[float, Above(0)] = 10.0, **schedule: Any
    ):
        super().__init__(shape, scale, **schedule)
