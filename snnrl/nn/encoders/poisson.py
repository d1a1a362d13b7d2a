"""Poisson coding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.nn.encoders.base import StraightThrough, spike_currents
from snnrl.nn.encoders.unit_drive import UnitDriveEncoder
from snnrl.nn.operators import Operators
from snnrl.nn.random_numbers import RandomNumbers
from snnrl.nn.registry import register


@register("encoder", "poisson")
class PoissonEncoder(UnitDriveEncoder):
    """A spike with a probability equal to the drive, independently in each step.

    The random numbers are the network's own (:class:`RandomNumbers`): seeded with the weights,
    saved with them, other ones after each gradient step. Between two gradient steps the spikes of
    an observation are the same, in rollouts and in evaluations.

    The gradient passes straight through the draw, whose mean is the drive. Drives:
    :class:`UnitDriveEncoder`.

    Source: the input of BNTT (Kim & Panda 2020, arXiv 2010.01729), whose spikes have the sign of
    the input; here two inputs take its place.
    """

    compiles = False

    def __init__(
        self, inputs: int, time_steps: int, input_range: tuple[float, float] | None = None
    ):
        super().__init__(inputs, time_steps, input_range)
        self.numbers = RandomNumbers()

    def forward(self, observation: Tensor) -> Tensor:
        drive = self.drive(observation)
        numbers = self.numbers.uniform(observation, self.time_steps)
        # The two inputs of a signed number share its draws, as one of them has no drive.
        drawn = torch.cat([numbers] * (drive.shape[1] // observation.shape[1]), dim=2)
        spikes: Tensor = StraightThrough.apply(drive - drawn, 0.0)  # type: ignore[no-untyped-call]
        return spikes

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        return spike_currents(self(observation), linear, ops)
