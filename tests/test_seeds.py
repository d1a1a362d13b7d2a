"""Streams of a run's parts."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import snnrl
from snnrl.seeds import SEEDINGS, child_seed, own_global_generators, stream


def test_streams_of_other_seeds_names_and_indices_differ() -> None:
    keys: list[tuple[int, str, tuple[int, ...]]] = [
        (seed, name, index)
        for seed in (0, 1, 2, 100, 4_000_000_000)
        for name in ("a", "b", "evaluation")
        for index in ((), (0,), (1,), (0, 1), (1, 0), (2**33,))
    ]
    first = {tuple(stream(seed, name, *index).random(2)) for seed, name, index in keys}
    assert len(first) == len(keys)


def test_a_stream_is_the_same_everywhere_and_for_ever() -> None:
    # Recorded: a change would make every run another one.
    assert child_seed(0, "evaluation", 0) == 670116468
    assert child_seed(7, "worker", 3) == 1115828647


def test_seeds_of_episodes_do_not_meet_over_a_sweep() -> None:
    seeds = [child_seed(seed, "evaluation", k) for seed in range(200) for k in range(10)]
    assert len(set(seeds)) == len(seeds)


def test_training_environments_of_neighbouring_seeds() -> None:
    def starts(way: str) -> list[int]:
        return [SEEDINGS[way].environment(seed, i) for seed in range(20) for i in range(8)]

    assert starts("additive")[:9] == [0, 1, 2, 3, 4, 5, 6, 7, 1]
    assert len(set(starts("independent"))) == 160
    assert starts("independent")[::8] == list(range(20))  # one environment: Stable-Baselines3's


def test_additive_streams_are_those_of_recorded_runs() -> None:
    for name, entropy in (
        ("recalibration/actor", [3]),
        ("recalibration/critic", [3, 1]),
        ("episodes", [3, 1]),
    ):
        ours = SEEDINGS["additive"].stream(3, name).random(4)
        np.testing.assert_array_equal(ours, np.random.default_rng(entropy).random(4))
    ours = SEEDINGS["additive"].stream(3, "statistics", 500).random(4)
    np.testing.assert_array_equal(ours, np.random.default_rng([3, 500]).random(4))


def test_streams_without_a_seed_differ() -> None:
    ways = [stream, *(seeding.stream for seeding in SEEDINGS.values())]
    first = {
        tuple(way(None, name).random(2))
        for way in ways
        for name in ("episodes", "recalibration/critic", "evaluation")
        for _ in range(3)
    }
    assert len(first) == 27


MAKES = {"default_rng", "SeedSequence", "RandomState", "Generator", "PCG64", "Random"}
"""What makes a generator: of numpy, torch and Python."""

EXCEPT = {
    "seeds.py": {"default_rng", "SeedSequence"},
    # The bits of the environment's own generator.
    "envs/minatar.py": {"RandomState"},
    # No part of a run: the resamples of an interval.
    "analysis/bootstrap.py": {"default_rng"},
}


def makes_generators(path: Path) -> set[str]:
    """Names of what a file calls that makes a generator."""
    calls = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return {getattr(f, "attr", getattr(f, "id", "")) for f in calls} & MAKES


def test_nobody_else_makes_a_generator() -> None:
    package = Path(snnrl.__file__).parent
    made = {str(p.relative_to(package)): makes_generators(p) for p in package.rglob("*.py")}
    assert {name: found for name, found in made.items() if found} == EXCEPT


def test_additive_starts_of_episodes_are_those_of_recorded_runs() -> None:
    ours = SEEDINGS["additive"].stream(3, "evaluation", 5).random(4)
    np.testing.assert_array_equal(ours, np.random.default_rng([3, 5]).random(4))


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_global_generators_are_lent_and_given_back() -> None:
    torch.manual_seed(1)
    with own_global_generators(5):
        inside = draw()
    after = draw()
    torch.manual_seed(1)
    with pytest.raises(ArithmeticError), own_global_generators(5):
        assert draw() == inside
        raise ArithmeticError
    # Of the three only torch's was put back to where it was at first.
    assert float(torch.rand(())) == after[2]
    with own_global_generators(6):
        assert not set(draw()) & set(inside)
