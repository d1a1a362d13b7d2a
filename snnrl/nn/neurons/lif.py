"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.lif import LIFConstants, LIFState, lif
from snnrl.parameters import Between


@register("neuron", "lif")
class LIF(Neuron):
    """Leaky integrate-and-fire: :func:`snnrl.ops.lif.lif`.

    :param decay: share of the membrane potential kept in a step
    """

    def __init__(self, *, decay: Annotated[float, Between(0, 1)] = 0.75, **shared: Any):
        super().__init__(**shared)
        self.decay = decay

    def forward(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        threshold = self.threshold.level()
        return lif(x, state, self._own(), threshold, self.surrogate, self.detach_reset)

    def constants(self) -> Dynamics | None:
        return self._dynamics("lif", self._own())

    def _own(self) -> LIFConstants:
        return LIFConstants(self.decay)
