"""The leaky integrate-and-fire neuron with an adaptive threshold."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from snnrl.nn.neurons.base import Neuron
from snnrl.nn.registry import register
from snnrl.ops.alif import ALIFConstants, ALIFState, alif
from snnrl.parameters import AtLeast, Between


@register("neuron", "alif")
class AdaptiveLIF(Neuron):
    """Leaky integrate-and-fire with an adaptive threshold: :func:`snnrl.ops.alif.alif`.

    :param decay: share of the membrane potential kept in a step
    :param rho: share of the adaptation kept in a step
    :param beta: rise of the threshold by a spike, in thresholds
    """

    unfused = "its threshold changes from step to step"

    def __init__(
        self,
        *,
        decay: Annotated[float, Between(0, 1)] = 0.75,
        rho: Annotated[float, Between(0, 1)] = 0.9,
        beta: Annotated[float, AtLeast(0)] = 0.2,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.decay = decay
        self.rho = rho
        self.beta = beta

    def forward(self, x: Tensor, state: ALIFState | None = None) -> tuple[Tensor, ALIFState]:
        threshold, own = self.threshold.level(), ALIFConstants(self.decay, self.rho, self.beta)
        return alif(x, state, own, threshold, self.surrogate, self.detach_reset)
