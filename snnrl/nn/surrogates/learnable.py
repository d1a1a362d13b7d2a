"""A surrogate whose slope is learned."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.nn.surrogates.base import Surrogate
from snnrl.ops import surrogate as ops
from snnrl.parameters import Above


@register("surrogate", "learnable")
class LearnableSurrogate(Surrogate):
    """A slope ``a_t`` for each layer and time step, learned with the weights.

    With ``x = (v - th) / th`` and ``phi(z) = tanh(z) / 2 + 1/2``: ``ds/dx = a_t phi'(a_t x)`` and,
    defined so because a step has no gradient along its slope, ``ds/da_t = x phi'(a_t x)``.
    ``a_t = softplus(w_t)``; after each gradient step ``w`` is projected so that ``a`` stays within
    its bounds (a bound inside the pass would take its gradient away).

    A reconstruction from the abstract of arXiv 2605.27412 (circulate-firing neurons); start and
    bounds are our choice.

    :param shape: of the layer
    :param scale: slope at the start
    :param lowest: smallest slope
    :param highest: largest slope
    :raises UserError: a start out of bounds
    """

    def __init__(
        self,
        shape: LayerShape,
        scale: Annotated[float, Above(0)] = 2.0,
        lowest: Annotated[float, Above(0)] = 0.5,
        highest: Annotated[float, Above(0)] = 10.0,
    ):
        super().__init__(shape)
        if not lowest <= scale <= highest:
            raise UserError(
                f"surrogate.scale={scale}: expected between surrogate.lowest={lowest} and "
                f"surrogate.highest={highest}"
            )
        self.lowest, self.highest = lowest, highest
        self.weight = nn.Parameter(torch.full((shape.time_steps,), _inverse_softplus(scale)))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.lowest:g} to {self.highest:g}"

    def slopes(self) -> Tensor:
        """Return the slope of each time step, ``[T]``."""
        return F.softplus(self.weight)

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        spikes = (membrane > threshold).to(membrane.dtype)
        distance = (membrane - threshold) / threshold
        soft = torch.tanh(self.slopes()[step] * distance) / 2
        # The value of the step, the gradients of the soft one.
        return spikes + (soft - soft.detach())

    def operand(self, threshold: float | Tensor) -> ops.Surrogate:
        return ops.Surrogate("learnable", self.slopes() / threshold)

    @torch.no_grad()
    def project(self) -> None:
        low, high = _inverse_softplus(self.lowest), _inverse_softplus(self.highest)
        self.weight.clamp_(low, high)


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))
