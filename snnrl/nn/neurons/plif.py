"""The leaky integrate-and-fire neuron whose decay is learned."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnrl.nn.learning_rates import OwnLearningRates
from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.lif import LIFConstants, LIFState
from snnrl.ops.plif import PLIFConstants, plif
from snnrl.parameters import Above, Between


@register("neuron", "plif")
class ParametricLIF(OwnLearningRates, Neuron):
    """Leaky integrate-and-fire with a learned decay in each layer: :func:`snnrl.ops.plif.plif`.

    Start and learning rate are those of Proxy Target (arXiv 2505.24161).

    :param decay: share of the membrane potential kept in a step, at the start
    :param learning_rate: of ``w``, constant; null: that of the weights
    """

    def __init__(
        self,
        *,
        # Both ends have infinite w.
        decay: Annotated[float, Between(0.001, 0.999)] = 0.75,
        learning_rate: Annotated[float, Above(0)] | None = 1e-4,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.learning_rate = learning_rate
        self.w = nn.Parameter(torch.tensor(math.log(decay / (1 - decay))))

    def learning_rates(self) -> dict[str, float]:
        return {} if self.learning_rate is None else {"w": self.learning_rate}

    def forward(self, x: Tensor, state: LIFState | None = None) -> tuple[Tensor, LIFState]:
        threshold, own = self.threshold.level(), PLIFConstants(self.w)
        return plif(x, state, own, threshold, self.surrogate, self.detach_reset)

    def constants(self) -> Dynamics | None:
        decay = torch.sigmoid(self.w)
        return self._dynamics("lif", LIFConstants(decay))  # type: ignore[arg-type]
