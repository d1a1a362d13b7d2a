"""From observations to spikes and from spikes to values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class _StraightThrough(torch.autograd.Function):
    """``1{v > th}`` forward, the identity backward."""

    @staticmethod
    def forward(potential: Tensor, threshold: float) -> Tensor:
        return (potential > threshold).to(potential.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        pass

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return upstream, None


class Encoder(nn.Module):
    """What encoders have in common: ``forward(observation[B, D]) -> [T, B, features]``.

    Made with ``inputs``, ``time_steps`` and ``input_range``, the bounds of the observations where
    they need scaling.
    """

    features: int
    time_steps: int


def scaled(x: Tensor, low: float, high: float) -> Tensor:
    """``x`` of any shape from [low, high] to [-1, 1]."""
    return (x - low) * (2 / (high - low)) - 1


class PopulationEncoder(Encoder):
    """Gaussian receptive fields and regular spiking.

    Each of D observations, squashed by tanh, drives a population of P neurons with learnable
    means (evenly on [-1, 1]) and deviations (sqrt 0.05): ``a = exp(-(o - mean)^2 / (2 std^2))``.
    Every step an accumulator adds ``a``; above 0.999 it spikes and loses 0.999 (soft reset). The
    gradient passes straight through the threshold.

    Source: PopSAN (Tang et al. 2020); tanh as in CaRe-BN (arXiv 2509.23791).

    :param inputs: number of observations D
    :param time_steps: number of time steps T
    :param population: neurons P for each observation
    :param input_range: lowest and highest observation, scaled to [-1, 1] before the tanh, which
        would make all bytes but 0 one; ``None``: as they are
    """

    THRESHOLD = 0.999

    FLAT = 0.99
    """Beyond it the tanh is flat: another observation there makes hardly another spike."""

    def __init__(
        self,
        inputs: int,
        time_steps: int,
        population: int = 10,
        input_range: tuple[float, float] | None = None,
    ):
        super().__init__()
        self.time_steps = time_steps
        self.input_range = input_range
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
        """Share of the numbers in observations ``[B, D]`` that are too large to be told apart."""
        if self.input_range is not None:
            observation = scaled(observation, *self.input_range)
        return (torch.tanh(observation).abs() > self.FLAT).float().mean()

    def drive(self, observation: Tensor) -> Tensor:
        """Observations ``[B, D]`` -> what each potential gains in a step ``[B, D * P]``."""
        if self.input_range is not None:
            observation = scaled(observation, *self.input_range)
        distance = torch.tanh(observation).unsqueeze(-1) - self.mean
        return torch.exp(-(distance**2) / (2 * self.std**2)).flatten(1)

    def forward(self, observation: Tensor) -> Tensor:
        """Observations ``[B, D]`` -> spikes ``[T, B, D * P]``."""
        drive = self.drive(observation)
        potential = torch.zeros_like(drive)
        spikes = []
        for _ in range(self.time_steps):
            potential = potential + drive
            spike: Tensor = _StraightThrough.apply(  # type: ignore[no-untyped-call]
                potential, self.THRESHOLD
            )
            potential = potential - self.THRESHOLD * spike
            spikes.append(spike)
        return torch.stack(spikes)


class DirectEncoder(Encoder):
    """Direct coding: the observation itself is the input current of every step, unscaled.

    :param inputs: number of observations D; images keep their shape
    :param time_steps: number of time steps T
    """

    def __init__(
        self, inputs: int, time_steps: int, input_range: tuple[float, float] | None = None
    ):
        super().__init__()
        self.time_steps = time_steps
        self.features = inputs

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.features}, time_steps={self.time_steps}"

    def forward(self, observation: Tensor) -> Tensor:
        """Observations ``[B, ...]`` -> currents ``[T, B, ...]``."""
        return observation.expand(self.time_steps, *observation.shape)


class PopulationDecoder(nn.Module):
    """Mean firing rates of P neurons per output, weighted and summed, with a bias.

    Source: PopSAN (Tang et al. 2020). The bound on actions (tanh) is the caller's.

    :param outputs: number of outputs A
    :param population: neurons P for each output
    """

    def __init__(self, outputs: int, population: int = 10):
        super().__init__()
        bound = 1 / math.sqrt(population)
        self.weight = nn.Parameter(torch.empty(outputs, population).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        outputs, population = self.weight.shape
        return f"{outputs}, population={population}"

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T, B, A * P]`` -> values ``[B, A]``."""
        return self.read(spikes.sum(0), len(spikes))

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Spikes of each neuron in all time steps ``[B, A * P]`` -> values ``[B, A]``."""
        rates = (counts / time_steps).unflatten(1, self.weight.shape)
        values: Tensor = (rates * self.weight).sum(-1) + self.bias
        return values


class SpikeCountReadout(nn.Module):
    """A linear map of the spikes that each neuron of the last hidden layer made: ``W n + b``.

    Source: the discrete-control network of CaRe-BN (arXiv 2509.23791).

    :param features: neurons of the last hidden layer N
    :param outputs: number of outputs A
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes ``[T, B, N]`` -> values ``[B, A]``."""
        return self.read(spikes.sum(0), len(spikes))

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Spikes of each neuron in all time steps ``[B, N]`` -> values ``[B, A]``."""
        values: Tensor = self.linear(counts)
        return values
