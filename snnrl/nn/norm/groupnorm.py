"""Group normalisation."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.norm.layernorm import LayerNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above, AtLeast


@register("norm", "groupnorm")
class GroupNorm(LayerNorm):
    """:class:`LayerNorm` over each of several groups of neighbouring features (channels).

    Source: Wu & He (2018, arXiv 1803.08494). Two groups by default, as every population of 10
    output neurons can be divided by 2, and hidden layers are even.

    :param groups: number of groups; it divides the features of every layer
    :raises UserError: it does not divide them
    """

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        groups: Annotated[int, AtLeast(1)] = 2,
        eps: Annotated[float, Above(0)] = 1e-5,
    ):
        super().__init__(shape, threshold, eps)
        if shape.features % groups:
            raise UserError(
                f"bn.groups={groups}: does not divide a layer of {shape.features} features; "
                f"expected one of {', '.join(map(str, _divisors(shape.features)))}"
            )
        self.groups = groups

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{super().extra_repr()}, groups={self.groups}"

    def forward(self, x: Tensor) -> Tensor:
        inputs = x.flatten(0, 1)
        normalised = F.group_norm(inputs, self.groups, self.gamma, self.beta, self.eps)
        return normalised.view(x.shape)


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]
