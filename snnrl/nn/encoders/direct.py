"""Direct coding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnrl.nn.encoders.base import Drive, Encoder
from snnrl.nn.operators import Operators
from snnrl.nn.registry import register


@register("encoder", "direct")
class DirectEncoder(Encoder):
    """The observation itself is the input current of every step, unscaled; images keep their shape.

    Source: CaRe-BN (arXiv 2509.23791), discrete control.
    """

    spikes = False

    takes_images = True

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.features}, time_steps={self.time_steps}"

    def forward(self, observation: Tensor) -> Tensor:
        return observation.expand(self.time_steps, *observation.shape)

    def formula(self) -> dict[str, Any]:
        return dict(mean=None, std=None, squash=False, low=None, high=None, threshold=None)

    def constant_input(self, observation: Tensor) -> Drive:
        return Drive(observation, None)

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        # The same in every step: one product in place of T.
        currents: Tensor = linear(observation)
        return currents.expand(self.time_steps, *currents.shape)
