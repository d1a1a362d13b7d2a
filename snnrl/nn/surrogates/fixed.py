"""Surrogates with one shape parameter that is not learned; the formulas stand in
:mod:`snnrl.ops.surrogate`."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.nn.surrogates.base import Surrogate
from snnrl.ops import surrogate as ops
from snnrl.parameters import Above


class FixedSurrogate(Surrogate):
    """The same derivative in every layer and step.

    :param shape: of the layer
    :param derivative: a key of :data:`snnrl.ops.surrogate.DERIVATIVES`
    :param scale: half width (rectangular, triangle) or slope (sigmoid, tanh; one function at 4
        and 2)
    """

    def __init__(self, shape: LayerShape, derivative: str, scale: float):
        super().__init__(shape)
        self.constants = ops.Surrogate(derivative, scale)

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"scale={self.constants.scale:g}"

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        return ops.spike(membrane, threshold, self.constants)

    def operand(self) -> ops.Surrogate:
        return self.constants


@register("surrogate", "rectangular")
class Rectangular(FixedSurrogate):
    """``1{|v - th| < scale}``.

    :param scale: half width, in units of the membrane potential
    """

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 0.5):
        super().__init__(shape, "rectangular", scale)


@register("surrogate", "sigmoid")
class Sigmoid(FixedSurrogate):
    """``scale y (1 - y)`` with ``y = sigmoid(scale (v - th))``.

    :param scale: slope of the sigmoid (one function with tanh at 4 and 2)
    """

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 4.0):
        super().__init__(shape, "sigmoid", scale)


@register("surrogate", "tanh")
class Tanh(FixedSurrogate):
    """``1 - y^2`` with ``y = tanh(scale (v - th))``: at 2 the function that ``sigmoid`` is at 4.

    :param scale: slope of the tanh (one function with sigmoid at 2 and 4)
    """

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 2.0):
        super().__init__(shape, "tanh", scale)


@register("surrogate", "triangle")
class Triangle(FixedSurrogate):
    """``max(0, scale - |v - th|) / scale^2``.

    :param scale: half width, in units of the membrane potential
    """

    def __init__(self, shape: LayerShape, scale: Annotated[float, Above(0)] = 0.5):
        super().__init__(shape, "triangle", scale)
