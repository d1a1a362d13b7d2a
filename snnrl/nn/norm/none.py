"""No normalisation."""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor

from snnrl.nn.norm.base import Constant, Norm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above, Between


@register("norm", "none")
class NoNorm(Norm):
    """Identity in place of a normalisation.

    Its parameters have no effect: configurations have had them since the first version.

    :param rule: keeps no statistics
    :param momentum, smoothing, effective_n, eps: without effect
    """

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        rule: Literal["none"] = "none",
        momentum: Annotated[float, Above(0, 1)] = 0.1,
        smoothing: Annotated[float, Between(0, 1)] = 0.8,
        effective_n: Annotated[float, Above(0)] | None = None,
        eps: Annotated[float, Above(0)] = 1e-5,
    ):
        super().__init__(shape, threshold)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def constant(self) -> Constant:
        return Constant(None)
