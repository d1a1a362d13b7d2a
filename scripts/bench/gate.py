"""Comparison with the naive backend, which a contestant must pass before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


class Red(Exception):
    """Wrong result of a contestant; the message names what differs, and by how much."""


@dataclass(frozen=True)
class Outcome:
    """Results of a contestant.

    :param values: outputs and gradients by name
    :param spikes: spikes by name
    """

    values: Mapping[str, Tensor]
    spikes: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed difference between two backends.

    For a membrane at the threshold, rounding decides whether it spikes, and a spike changes all
    that follows. Where spikes are compared, a few may differ. Inside a network only their
    consequences are compared, in several trials: one of them must be without such a spike, and the
    others must be near.

    :param flips: largest share of spikes that may differ
    :param values: largest relative distance ``|a - b| / |b|`` (Euclidean norms) of any value
    :param values_after_flips: the same if a spike differs, or may differ
    :param trials: number of inputs to try
    """

    flips: float = 1e-5
    values: float = 1e-4
    values_after_flips: float = 1e-2
    trials: int = 1


Trial = Callable[[int], Outcome]
"""Function from the number of a trial to the outcome on its inputs."""


def agree(contestant: Trial, reference: Trial, tolerance: Tolerance) -> str:
    """Return how closely the contestant agrees with the reference, in words.

    :raises Red: the contestant computes something else
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
    """Return how closely two outcomes of one trial agree, in words.

    :raises Red: they differ by more than the tolerance
    """
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
        # Not `>`, so that NaN is refused, too.
        if not distance <= allowed:
            raise Red(f"{name} differs by {distance:.2g} (at most {allowed:g})")
        worst = max(worst, distance)
    told = f"; {flips:.1g} of the spikes differ" if flips else ""
    return f"values within {worst:.1g}{told}"


def relative_distance(value: Tensor, expected: Tensor) -> float:
    """Return ``|value - expected| / |expected|`` in Euclidean norms.

    If the expected values are all 0 it is ``|value|``; for different shapes it is infinite.
    """
    if value.shape != expected.shape:
        return float("inf")
    expected = expected.detach().double()
    value = value.detach().to(expected.device).double()
    scale = torch.linalg.vector_norm(expected).item()
    return (torch.linalg.vector_norm(value - expected) / (scale or 1.0)).item()
