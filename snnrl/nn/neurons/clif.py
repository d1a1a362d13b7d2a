"""The current-based leaky integrate-and-fire neuron."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.ops.clif import CLIFConstants, CLIFState, clif
from snnrl.ops.dynamics import Dynamics
from snnrl.parameters import Between


@register("neuron", "clif")
class CLIF(Neuron):
    """Current-based leaky integrate-and-fire: :func:`snnrl.ops.clif.clif`.

    :param decay: share of the membrane potential kept in a step
    :param current_decay: share of the synaptic current kept in a step
    """

    def __init__(
        self,
        *,
        decay: Annotated[float, Between(0, 1)] = 0.75,
        current_decay: Annotated[float, Between(0, 1)] = 0.5,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.decay = decay
        self.current_decay = current_decay

    def forward(self, x: Tensor, state: CLIFState | None = None) -> tuple[Tensor, CLIFState]:
        threshold = self.threshold.level()
        return clif(x, state, self._own(), threshold, self.surrogate, self.detach_reset)

    def constants(self) -> Dynamics | None:
        return self._dynamics("clif", self._own())

    def _own(self) -> CLIFConstants:
        return CLIFConstants(self.current_decay, self.decay)
