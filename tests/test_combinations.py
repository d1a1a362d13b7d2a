"""Every algorithm with every network in every kind of environment: it runs, or it is refused.

The combinations are made from the choices of ``configs/``: a new choice is in them by itself.
"""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.validate import validate
from snnrl.nn.norm import BatchNorm, make_strategy
from tests.experiment.helpers import arguments, folder_of, train

ENVIRONMENTS = {
    "box": "env=inverted_pendulum",
    "discrete": "env=cartpole",
    "image": "env=minatar/breakout",
}


class Structure(NamedTuple):
    """What decides whether a combination fits."""

    algo: str
    actor: str
    critic: str
    env: str


class Combination(NamedTuple):
    """A run; ``neuron`` is that of every network that spikes, ``bn`` of every one that can have
    it."""

    algo: str
    actor: str
    critic: str
    env: str
    neuron: str
    bn: str


def overrides_of(structure: Structure) -> list[str]:
    algo, actor, critic, env = structure
    return [f"algo={algo}", f"actor={actor}", f"critic={critic}", ENVIRONMENTS[env]]


def overrides(run: Combination) -> list[str]:
    chosen = overrides_of(Structure(*run[:4]))
    chosen += [f"neuron={run.neuron}"]
    chosen += [f"bn={run.bn}" if "bn" in normalised(run) else "bn=none"]
    chosen += [f"bn@critic.bn={run.bn}"] if "critic.bn" in normalised(run) else []
    return chosen


FIT_ORDINARY = [bn for bn in choices("bn") if make_strategy(bn).layer.needs_spikes() is None]


def normalised(run: Combination) -> list[str]:
    """Places of the networks that can have the normalisation."""
    places = {"bn": run.actor, "critic.bn": run.critic}
    return [
        place
        for place, kind in places.items()
        if kind != "none" and (kind == "spiking" or run.bn in FIT_ORDINARY)
    ]


def fits(structure: Structure) -> bool:
    """What should be accepted, said a second time."""
    algo, _, critic, env = structure
    usual = {"ddpg": "ann_late", "dqn": "none"}.get(algo, "ann")
    if critic not in ({usual} if algo == "dqn" else {usual, "spiking"}):
        return False
    acts_in = {"dqn": {"discrete", "image"}, "ppo": {"box", "discrete", "image"}}
    return env in acts_in.get(algo, {"box"})


STRUCTURES = [
    Structure(*parts)
    for parts in product(choices("algo"), choices("actor"), choices("critic"), ENVIRONMENTS)
]
ALL = [
    Combination(*structure, neuron, bn)
    for structure in STRUCTURES
    if fits(structure)
    for neuron, bn in product(choices("neuron"), choices("bn"))
    # Without a network that spikes there is one neuron.
    if "spiking" in structure or (neuron == choices("neuron")[0] and bn in FIT_ORDINARY)
]


def pairs(run: Combination) -> set[tuple[tuple[str, str], ...]]:
    return set(combinations(run._asdict().items(), 2))


def covering(runs: list[Combination]) -> list[Combination]:
    """Few of the runs in which every two choices that occur together occur together."""
    wanted = {pair for run in runs for pair in pairs(run)}
    chosen = []
    while wanted:
        best = max(runs, key=lambda run: len(pairs(run) & wanted))
        wanted -= pairs(best)
        chosen.append(best)
    return chosen


PAIRWISE = covering(ALL)

OTHERS = [
    run
    for run in ALL
    # Every neuron and every normalisation in every structure: with one choice of the other.
    if "spiking" not in run[:3] or run.neuron == "lif" or run.bn == "carebn"
    if run not in PAIRWISE
]


def name_of(parts: tuple[str, ...]) -> str:
    return "-".join(parts)


@pytest.fixture(autouse=True)
def _packages(request: pytest.FixtureRequest) -> None:
    if "image" in request.node.name:
        pytest.importorskip("minatar")


def test_the_subset_covers_every_pair_of_choices() -> None:
    groups = {"algo", "actor", "critic", "neuron", "bn"}
    for group in groups:
        assert {getattr(run, group) for run in PAIRWISE} == set(choices(group))
    covered = {pair for run in PAIRWISE for pair in pairs(run)}
    assert covered == {pair for run in ALL for pair in pairs(run)}
    assert len(PAIRWISE) < len(ALL) / 4


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("structure", STRUCTURES, ids=name_of)
def test_what_does_not_fit_is_refused(structure: Structure, tmp_path: Path) -> None:
    cfg = compose_config(arguments(tmp_path, *overrides_of(structure)))
    if fits(structure):
        validate(cfg)
    else:
        with pytest.raises(UserError, match=r"expected \w+"):
            validate(cfg)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("run", PAIRWISE, ids=name_of)
def test_pairs_of_choices_run(run: Combination, tmp_path: Path) -> None:
    assert_runs(run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("run", OTHERS, ids=name_of)
def test_other_choices_run(run: Combination, tmp_path: Path) -> None:
    assert_runs(run, tmp_path)


def assert_runs(run: Combination, results_dir: Path) -> None:
    short = ["total_steps=48", "evaluation.every=48", "evaluation.episodes=1"]
    settings = [*overrides(run), *schedules(run), *short]
    settings += ["conv.channels=[2]"] if run.env == "image" else []
    # The picture at the end is another test's.
    with patch("snnrl.experiment.run.summarise_run", return_value=""):
        assert train(results_dir, *settings) == 0
    folder = folder_of(results_dir, *settings)
    assert (folder.path / "DONE").exists()
    keeps_statistics = issubclass(make_strategy(run.bn).layer, BatchNorm)
    assert (folder.path / "statistics_error.csv").exists() is keeps_statistics


def schedules(run: Combination) -> list[str]:
    """Re-calibration within the run where the strategy has one."""
    if run.algo == "ppo":
        return []
    every = "null" if make_strategy(run.bn).recalibrate_every is None else "20"
    # An ordinary critic without a normalisation has no settings of one.
    empty = {"critic.bn"} if run.bn == "none" and run.critic != "spiking" else set()
    places = [place for place in normalised(run) if place not in empty]
    return [f"{place}.recalibrate_every={every}" for place in places]
