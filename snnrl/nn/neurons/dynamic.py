"""The second-order dynamic neuron."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.ops.dynamic import DynamicConstants, DynamicState, dynamic
from snnrl.ops.dynamics import Dynamics
from snnrl.parameters import Between


@register("neuron", "dn")
@register("neuron", "dn_mdcsan", tu=-0.529)
class DynamicNeuron(Neuron):
    """Second-order dynamic neuron of MDC-SAN: :func:`snnrl.ops.dynamic.dynamic`.

    The papers of MDC-SAN and Proxy Target, and the code of ILC-SAN, have a recovery variable that
    decays, ``tu = -0.529`` (``dn_mdcsan``). The published code of CaRe-BN and Proxy Target, with
    which their results were made, has the other sign (``dn``).

    :param current_decay: share of the synaptic current kept in a step
    :param tv: pull of the membrane on the recovery variable
    :param tu: pull of the recovery variable on itself
    :param tr: membrane potential after a spike
    :param ts: jump of the recovery variable at a spike
    """

    def __init__(
        self,
        *,
        current_decay: Annotated[float, Between(0, 1)] = 0.5,
        tv: float = -0.172,
        tu: float = 0.529,
        tr: float = 0.021,
        ts: float = 0.132,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.current_decay = current_decay
        self.tv, self.tu, self.tr, self.ts = tv, tu, tr, ts

    def forward(self, x: Tensor, state: DynamicState | None = None) -> tuple[Tensor, DynamicState]:
        threshold = self.threshold.level()
        return dynamic(x, state, self._own(), threshold, self.surrogate, self.detach_reset)

    def constants(self) -> Dynamics | None:
        return self._dynamics("dynamic", self._own())

    def _own(self) -> DynamicConstants:
        return DynamicConstants(self.current_decay, self.tv, self.tu, self.tr, self.ts)
