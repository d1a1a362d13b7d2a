"""Population coding."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.answers import answers
from snnrl.nn.encoders.base import Drive, Encoder, StraightThrough, scaled
from snnrl.nn.operators import Operators
from snnrl.nn.registry import register
from snnrl.parameters import Above, AtLeast


@register("encoder", "population")
class PopulationEncoder(Encoder):
    """Gaussian receptive fields and regular spiking.

    Each of D observations, squashed by tanh, drives a population of P neurons with learnable
    means (at first evenly on [-1, 1]) and deviations (sqrt 0.05):
    ``a = exp(-(o - mean)^2 / (2 std^2))``. Every step an accumulator adds ``a``; above 0.999 it
    spikes and loses 0.999 (soft reset). The gradient passes straight through the threshold.

    Source: PopSAN (Tang et al. 2020), whose code has z-scored observations in place of the tanh,
    means on [-3, 3] and a deviation of sqrt 0.15; tanh as in CaRe-BN (arXiv 2509.23791).

    :param inputs: number of observations D
    :param time_steps: number of time steps T
    :param input_range: lowest and highest observation, scaled to [-1, 1] before the tanh, which
        would make all bytes but 0 one; ``None``: as they are
    :param population: input neurons for each observation dimension
    :param mean_range: the first means of the receptive fields are evenly on
        [-mean_range, mean_range]
    :param std: first standard deviation of the receptive fields
    :param squash: whether observations go through tanh first
    :raises UserError: a range for the only neuron of a population, whose mean is 0
    """

    THRESHOLD = 0.999

    made_of = ("drive", "_seen")

    scales = True

    FLAT = 0.99
    """Beyond it the tanh is flat: another observation there makes hardly another spike."""

    TAIL = 2.0
    """Standard deviations beyond the outermost mean, from where on no neuron responds by more than
    0.14: our choice."""

    def __init__(
        self,
        inputs: int,
        time_steps: int,
        population: Annotated[int, AtLeast(1)] = 10,
        input_range: tuple[float, float] | None = None,
        mean_range: Annotated[float, Above(0)] = 1.0,
        std: Annotated[float, Above(0)] = math.sqrt(0.05),
        squash: bool = True,
    ):
        super().__init__(inputs, time_steps, input_range)
        if population == 1 and mean_range != 1:
            raise UserError(
                f"encoder.mean_range={mean_range}: has no effect with encoder.population=1, whose "
                "only mean is 0; expected encoder.mean_range=1, or encoder.population=2 or more"
            )
        self.features = inputs * population
        self.mean_range, self.squash = mean_range, squash
        self.reach = (mean_range if population > 1 else 0.0) + self.TAIL * std
        single = torch.zeros(1)
        centres = torch.linspace(-mean_range, mean_range, population) if population > 1 else single
        self.mean = nn.Parameter(centres.repeat(inputs, 1))
        self.std = nn.Parameter(torch.full((inputs, population), float(std)))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        inputs, population = self.mean.shape
        shown = f"{inputs}, population={population}, time_steps={self.time_steps}"
        if self.input_range is not None:
            shown += f", input_range={self.input_range}"
        if self.mean_range != 1:
            shown += f", mean_range={self.mean_range:g}"
        return shown if self.squash else f"{shown}, squash=False"

    def saturation(self, observation: Tensor) -> Tensor:
        seen = self._seen(observation).abs()
        return (seen > (self.FLAT if self.squash else self.reach)).float().mean()

    def drive(self, observation: Tensor) -> Tensor:
        """Return the activations of the receptive fields, which each potential gains in a step:
        ``[B, D]`` -> ``[B, D * P]``."""
        distance = self._seen(observation).unsqueeze(-1) - self.mean
        return torch.exp(-(distance**2) / (2 * self.std**2)).flatten(1)

    def _seen(self, observation: Tensor) -> Tensor:
        """Return the observations as the receptive fields see them."""
        if self.input_range is not None:
            observation = scaled(observation, *self.input_range)
        return torch.tanh(observation) if self.squash else observation

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

    def formula(self) -> dict[str, Any]:
        low, high = self.input_range or (None, None)
        fields = dict(mean=self.mean, std=self.std, squash=self.squash)
        return dict(fields, low=low, high=high, threshold=self.THRESHOLD)

    def constant_input(self, observation: Tensor) -> Drive:
        return Drive(self.drive(observation), self.THRESHOLD)

    def currents(self, observation: Tensor, linear: nn.Module, ops: Operators) -> Tensor:
        if not isinstance(linear, nn.Linear):
            return super().currents(observation, linear, ops)
        if ops.CODES_POPULATIONS and answers(self, "currents", "drive"):
            seen, fields = self._seen(observation), (self.mean, self.std)
            return ops.fields_linear(
                seen, fields, self.time_steps, self.THRESHOLD, linear.weight, linear.bias
            )
        return ops.encoded_linear(
            self.drive(observation), self.time_steps, self.THRESHOLD, linear.weight, linear.bias
        )
