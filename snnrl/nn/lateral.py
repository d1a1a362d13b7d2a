"""Connections between the neurons of one layer, from each time step to the next."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.surrogates import Surrogate
from snnrl.ops import surrogate as ops


class Connections(NamedTuple):
    """What a neuron receives.

    :param sources: whose spikes: ``all`` of its population, ``others`` than its own, its ``own``
        alone, or ``none``
    :param biased: whether a bias is added in every step
    """

    sources: Literal["all", "others", "own", "none"]
    biased: bool


LATERALS = {
    "intra": Connections("all", biased=True),
    "intra_no_bias": Connections("all", biased=False),
    "intra_no_self": Connections("others", biased=True),
    "intra_no_lateral": Connections("own", biased=True),
    "intra_only_lateral": Connections("others", biased=False),
    "intra_only_self": Connections("own", biased=False),
    "intra_only_bias": Connections("none", biased=True),
}
"""The published variants; ``none`` is no connections."""

NONE = Connections("none", biased=False)


class IntraLayer(nn.Module):
    """Connections within each population: currents of the spikes of the step before.

    The P neurons of an output receive a learned linear map of their own spikes. Before the first
    step there were none, so only the bias is added then.

    Source: ILC-SAN (Chen et al. 2024) and its code, first values included: those of a grouped
    convolution, and standard normal ones where there is no matrix. One thing differs: the
    published code replaces the weights between ``others`` by a new parameter in each pass, so that
    its optimiser never moves them. Here they are learned.

    :param name: a key of :data:`LATERALS`
    :param outputs: number of populations A
    :param population: neurons P of each
    """

    def __init__(self, name: str, outputs: int, population: int):
        super().__init__()
        self.name, self.outputs, self.population = name, outputs, population
        self.sources, biased = LATERALS[name]
        by_matrix = self.sources in ("all", "others")
        bound = 1 / math.sqrt(population)

        def start(*shape: int) -> nn.Parameter:
            values = torch.empty(outputs, *shape)
            return nn.Parameter(values.uniform_(-bound, bound) if by_matrix else values.normal_())

        self.weight: nn.Parameter | None = None
        if self.sources != "none":
            self.weight = start(population, population) if by_matrix else start(population)
        self.bias = start(population) if biased else None

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.name}, {self.outputs}, population={self.population}"

    def forward(self, spikes: Tensor) -> Tensor:
        """Return currents ``[B, A * P]`` of the spikes of the step before, ``[B, A * P]``."""
        before = spikes.unflatten(1, (self.outputs, self.population))
        currents = torch.zeros_like(before)
        if self.weight is not None:
            currents = before * self.weight if self.sources == "own" else self._mapped(before)
        if self.bias is not None:
            currents = currents + self.bias
        return currents.flatten(1)

    def _mapped(self, before: Tensor) -> Tensor:
        assert self.weight is not None
        weight: Tensor = self.weight
        if self.sources == "others":
            weight = weight * (1 - torch.eye(self.population, device=weight.device))
        return torch.einsum("aij,baj->bai", weight, before)


class OfLaterStep(Surrogate):
    """The surrogate of neurons that are called once for each time step.

    :param surrogate: makes the spikes, and may differ between steps
    """

    def __init__(self, surrogate: Surrogate):
        super().__init__(surrogate.shape)
        self.surrogate = surrogate
        self.first = 0

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        spikes: Tensor = self.surrogate(membrane, threshold, self.first + step)
        return spikes

    def operand(self, threshold: float | Tensor) -> ops.Surrogate | None:
        return self.surrogate.known(threshold)


def check_lateral(name: str) -> None:
    """:raises UserError: no such connections"""
    expect("lateral", name, ("none", *LATERALS))


def check_effect(name: str, time_steps: int, population: int, prefix: str = "") -> None:
    """Check that the weights of connections act.

    :param name: a key of :data:`LATERALS`, or ``none``
    :param prefix: of the settings' names in the error
    :raises UserError: they do not: in a single time step there is none before it, and a single
        neuron has no others
    """
    sources, biased = LATERALS.get(name, NONE)
    if sources == "none":
        return
    if time_steps == 1:
        short, why = "time_steps", "which has no step before it"
    elif population == 1 and sources == "others":
        short, why = "population", "where a neuron has no others"
    else:
        return
    instead = "intra_only_bias" if biased else "none"
    raise UserError(
        f"{prefix}lateral={name}: its weights have no effect with {prefix}{short}=1, {why}; "
        f"expected {prefix}{short}=2 or more, or {prefix}lateral={instead}"
    )
