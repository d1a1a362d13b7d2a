"""Nothing is timed before it is known to compute the same as the naive backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


class Red(Exception):
    """A contestant computes something else; the message says what differs and by how much."""


@dataclass(frozen=True)
class Outcome:
    """What a contestant computed.

    :param values: outputs and gradients by name
    :param spikes: spikes by name
    """

    values: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Tolerance:
    """How far two backends may be apart.

    A membrane that stands at the threshold falls to either side with the rounding, and what
    follows from a spike differs from what follows from none. Where spikes are seen, a few may
    differ. Where only their consequences are, inside networks, there are several trials: one
    without such a spike must be among them, and the others must be near.

    :param flips: largest share of spikes that differ
    :param values: largest relative distance ``|a - b| / |b|`` (Euclidean norms) of any value
    :param values_after_flips: the same where a spike differs, or may differ
    :param trials: on how many inputs to try
    """

    flips: float = 1e-5
    values: float = 1e-4
    values_after_flips: float = 1e-2
    trials: int = 1


Trial = Callable[[int], Outcome]
"""Computes the outcome on the inputs of one trial, by its number."""


def agree(contestant: Trial, reference: Trial, tolerance: Tolerance) -> str:
    """How near the contestant comes to the reference, in words.

    :raises Red: it computes something else
    """
    difference = Red("was not tried")
    for trial in range(tolerance.trials):
        outcome, expected = contestant(trial), reference(trial)
        try:
            found = check(outcome, expected, tolerance)
        except Red as red:
            difference = red
            check(outcome, expected, replace(tolerance, values=tolerance.values_after_flips))
        else:
            return f"{found}, at trial {trial + 1}" if trial else found
    raise difference


def check(outcome: Outcome, reference: Outcome, tolerance: Tolerance) -> str:
    """The same of one trial."""
    for ours, theirs in ((outcome.values, reference.values), (outcome.spikes, reference.spikes)):
        if ours.keys() != theirs.keys():
            raise Red(f"computes {sorted(ours)}, the reference {sorted(theirs)}")
    flips = 0.0
    for name, spikes in outcome.spikes.items():
        expected = reference.spikes[name]
        if spikes.shape != expected.shape:
            raise Red(f"{name} has shape {tuple(spikes.shape)}, not {tuple(expected.shape)}")
        share = (spikes.float() != expected.float()).float().mean().item()
        if share > tolerance.flips:
            raise Red(f"{share:.2g} of {name} differ (at most {tolerance.flips:g})")
        flips = max(flips, share)
    allowed = tolerance.values_after_flips if flips else tolerance.values
    worst = 0.0
    for name, value in outcome.values.items():
        distance = relative_distance(value, reference.values[name])
        # Written so that NaN is red.
        if not distance <= allowed:
            raise Red(f"{name} differs by {distance:.2g} (at most {allowed:g})")
        worst = max(worst, distance)
    told = f"; {flips:.1g} of the spikes differ" if flips else ""
    return f"values within {worst:.1g}{told}"


def relative_distance(value: Tensor, expected: Tensor) -> float:
    """``|value - expected| / |expected|`` in Euclidean norms; the norm itself where nothing is
    expected; infinite for unlike shapes."""
    if value.shape != expected.shape:
        return float("inf")
    expected = expected.detach().double()
    value = value.detach().to(expected.device).double()
    scale = torch.linalg.vector_norm(expected).item()
    return (torch.linalg.vector_norm(value - expected) / (scale or 1.0)).item()
