"""Population coding by random spikes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnrl.nn.encoders.base import StraightThrough, spike_currents
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.operators import Operators
from snnrl.nn.random_numbers import RandomNumbers
from snnrl.nn.registry import register


@register("encoder", "population_poisson")
class PopulationPoissonEncoder(PopulationEncoder):
    """Gaussian receptive fields whose activations are the probability of a spike in each step.

    The receptive fields are those of :class:`PopulationEncoder`. Each neuron draws in each step,
    and the gradient passes straight through the draw.

    Source: the code of PopSAN (Tang et al. 2020), which has it for Hopper and Walker2d. There every
    pass draws anew; here the random numbers are the network's own, as in ``encoder=poisson``
    (:class:`RandomNumbers`): between two gradient steps an observation has the same spikes.
    """

    compiles = False

    def __init__(self, *arguments: Any, **parameters: Any):
        super().__init__(*arguments, **parameters)
        self.numbers = RandomNumbers()

    def forward(self, observation: Tensor) -> Tensor:
        # Drawn by the observation, not by the activation, whose last digit depends on its place in
        # the batch.
        each = observation.repeat_interleave(self.mean.shape[1], dim=1)
        drawn = self.numbers.uniform(each, self.time_steps)
        spikes: Tensor = StraightThrough.apply(  # type: ignore[no-untyped-call]
            self.drive(observation) - drawn, 0.0
        )
        return spikes

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        return spike_currents(self(observation), linear, ops)
