"""Population coding by currents."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnrl.nn.encoders.base import Drive, Encoder
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.operators import Operators
from snnrl.nn.registry import register


@register("encoder", "population_current")
class PopulationCurrentEncoder(PopulationEncoder):
    """Gaussian receptive fields whose activations are the input current of every step.

    The receptive fields are those of :class:`PopulationEncoder`; nothing spikes before the first
    layer.

    Source: "pure population coding" of MDC-SAN (Zhang et al. 2022).
    """

    spikes = False

    def forward(self, observation: Tensor) -> Tensor:
        drive = self.drive(observation)
        return drive.expand(self.time_steps, *drive.shape)

    def formula(self) -> dict[str, Any]:
        return {**super().formula(), "threshold": None}

    def constant_input(self, observation: Tensor) -> Drive:
        return Drive(self.drive(observation), None)

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        if not isinstance(linear, nn.Linear):
            return Encoder.currents(self, observation, linear, ops)
        # The same in every step: one product in place of T.
        currents: Tensor = linear(self.drive(observation))
        return currents.expand(self.time_steps, *currents.shape)
