"""Readouts: from the spikes of the last layer to values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snnrl.nn.answers import answers


class Readout(nn.Module):
    """Values computed from each neuron's spikes in all time steps, with their signs."""

    def forward(self, spikes: Tensor) -> Tensor:
        """Return values ``[B, A]`` of spikes ``[T, B, N]``."""
        return self.read(spikes.sum(0), len(spikes))

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, N]``."""
        raise NotImplementedError

    def is_known(self) -> bool:
        """Return whether :meth:`read` still describes :meth:`forward`."""
        return answers(self, "read")


class PopulationDecoder(Readout):
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

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, A * P]``."""
        rates = (counts / time_steps).unflatten(1, self.weight.shape)
        values: Tensor = (rates * self.weight).sum(-1) + self.bias
        return values


class SpikeCountReadout(Readout):
    """A linear map of the spikes that each neuron of the last hidden layer made: ``W n + b``.

    Source: the discrete-control network of CaRe-BN (arXiv 2509.23791).

    :param features: neurons of the last hidden layer N
    :param outputs: number of outputs A
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        """Return values ``[B, A]`` of each neuron's spikes in all time steps ``[B, N]``."""
        values: Tensor = self.linear(counts)
        return values
