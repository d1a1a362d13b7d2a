"""The ternary neuron."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.neurons.circulate_firing import Rounds
from snnrl.nn.registry import register
from snnrl.nn.surrogates import Surrogate
from snnrl.ops import circulate_firing as ops
from snnrl.ops.circulate_firing import CirculateFiringState
from snnrl.parameters import Between


@register("neuron", "ternary")
class Ternary(Neuron):
    """``u[t] = d v[t-1] + x[t]``; ``s[t] = 1{u > th} - 1{u < -th}``; ``v[t] = u[t] - th s[t]``.

    It is the circulate-firing neuron with one round: :func:`snnrl.ops.circulate_firing.\
circulate_firing`.

    :param decay: share of the membrane potential kept in a step
    """

    binary = False

    def __init__(
        self,
        *,
        decay: Annotated[float, Between(0, 1)] = 0.75,
        surrogate: Surrogate,
        detach_reset: bool = False,
        **shared: Any,
    ):
        rounds = Rounds(surrogate, 1, True, 1.0, detach_reset)
        super().__init__(surrogate=rounds, detach_reset=detach_reset, **shared)
        self.decay = decay

    def forward(
        self, x: Tensor, state: CirculateFiringState | None = None
    ) -> tuple[Tensor, CirculateFiringState]:
        threshold, constants = self.threshold.level(), ops.CirculateFiringConstants(self.decay, 1.0)
        return ops.circulate_firing(
            x, state, constants, threshold, self.surrogate, self.detach_reset
        )

    def fired(self, outputs: Tensor) -> Tensor:
        return ops.fired(outputs, signed=True)
