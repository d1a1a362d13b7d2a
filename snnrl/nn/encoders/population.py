"""Population coding."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from snnrl.nn.encoders.base import Drive, Encoder, StraightThrough, scaled
from snnrl.nn.operators import Operators
from snnrl.nn.registry import register
from snnrl.parameters import AtLeast


@register("encoder", "population")
class PopulationEncoder(Encoder):
    """Gaussian receptive fields and regular spiking.

    Each of D observations, squashed by tanh, drives a population of P neurons with learnable
    means (evenly on [-1, 1]) and deviations (sqrt 0.05): ``a = exp(-(o - mean)^2 / (2 std^2))``.
    Every step an accumulator adds ``a``; above 0.999 it spikes and loses 0.999 (soft reset). The
    gradient passes straight through the threshold.

    Source: PopSAN (Tang et al. 2020); tanh as in CaRe-BN (arXiv 2509.23791).

    :param inputs: number of observations D
    :param time_steps: number of time steps T
    :param input_range: lowest and highest observation, scaled to [-1, 1] before the tanh, which
        would make all bytes but 0 one; ``None``: as they are
    :param population: input neurons for each observation dimension
    """

    THRESHOLD = 0.999

    scales = True

    FLAT = 0.99
    """Beyond it the tanh is flat: another observation there makes hardly another spike."""

    def __init__(
        self,
        inputs: int,
        time_steps: int,
        population: Annotated[int, AtLeast(1)] = 10,
        input_range: tuple[float, float] | None = None,
    ):
        super().__init__(inputs, time_steps, input_range)
        self.features = inputs * population
        centres = torch.linspace(-1, 1, population) if population > 1 else torch.zeros(1)
        self.mean = nn.Parameter(centres.repeat(inputs, 1))
        self.std = nn.Parameter(torch.full((inputs, population), math.sqrt(0.05)))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        inputs, population = self.mean.shape
        scaling = "" if self.input_range is None else f", input_range={self.input_range}"
        return f"{inputs}, population={population}, time_steps={self.time_steps}{scaling}"

    def saturation(self, observation: Tensor) -> Tensor:
        if self.input_range is not None:
            observation = scaled(observation, *self.input_range)
        return (torch.tanh(observation).abs() > self.FLAT).float().mean()

    def drive(self, observation: Tensor) -> Tensor:
        """Return what each potential gains in a step: ``[B, D]`` -> ``[B, D * P]``."""
        if self.input_range is not None:
            observation = scaled(observation, *self.input_range)
        distance = torch.tanh(observation).unsqueeze(-1) - self.mean
        return torch.exp(-(distance**2) / (2 * self.std**2)).flatten(1)

    def forward(self, observation: Tensor) -> Tensor:
        drive = self.drive(observation)
        potential = torch.zeros_like(drive)
        spikes = []
        for _ in range(self.time_steps):
            potential = potential + drive
            spike: Tensor = StraightThrough.apply(  # type: ignore[no-untyped-call]
                potential, self.THRESHOLD
            )
            potential = potential - self.THRESHOLD * spike
            spikes.append(spike)
        return torch.stack(spikes)

    def constant_input(self, observation: Tensor) -> Drive:
        return Drive(self.drive(observation), self.THRESHOLD)

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        if not isinstance(linear, nn.Linear):
            return super().currents(observation, linear, ops)
        return ops.encoded_linear(
            self.drive(observation), self.time_steps, self.THRESHOLD, linear.weight, linear.bias
        )
