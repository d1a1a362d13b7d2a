"""Evaluation, re-calibration, logging and checkpoints: when, and that they do not disturb."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnrl.agents import TD3
from snnrl.experiment import callbacks
from snnrl.experiment.callbacks import Clock
from snnrl.experiment.diagnostics import short
from snnrl.experiment.evaluation import Episode, Evaluator
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.seeds import child_seed
from tests.experiment.helpers import (
    assert_same,
    folder_of,
    parameters,
    rows_of,
    steps_in,
    train,
)


def run(results_dir: Path, *settings: str) -> RunFolder:
    assert train(results_dir, *settings) == 0
    return folder_of(results_dir, *settings)


def after_rows(folder: RunFolder) -> set[int]:
    rows = rows_of(folder, "statistics_error")
    return {int(row["timesteps"]) for row in rows if row["phase"] == "after"}


@pytest.mark.parametrize(
    ("last", "step", "due"),
    [(-1, 0, True), (0, 0, False), (0, 9, False), (0, 10, True), (10, 19, False), (7, 31, True)],
)
def test_clock(last: int, step: int, due: bool) -> None:
    assert Clock(10, last).due(step) is due


def test_evaluation_and_recalibration_are_independent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, int]] = []
    recalibrate = TD3.recalibrate
    evaluate = Evaluator.run

    def note_recalibration(agent: TD3, names: list[str]) -> None:
        events.append(("recalibrate", agent.num_timesteps))
        recalibrate(agent, names)

    def note_evaluation(evaluator: Evaluator, agent: TD3, *given: Any) -> list[Episode]:
        events.append(("evaluate", agent.num_timesteps))
        return evaluate(evaluator, agent, *given)

    monkeypatch.setattr(TD3, "recalibrate", note_recalibration)
    monkeypatch.setattr(Evaluator, "run", note_evaluation)
    folder = run(tmp_path, "evaluation.every=30", "bn.recalibrate_every=20", "total_steps=70")
    assert events == [
        ("evaluate", 0),
        ("recalibrate", 20),
        ("evaluate", 30),
        ("recalibrate", 40),
        ("recalibrate", 60),
        ("evaluate", 60),
        ("evaluate", 70),
    ]
    assert steps_in(folder, "evaluations") == [0, 30, 60, 70]
    assert after_rows(folder) == {60}


@pytest.mark.slow
def test_every_step_of_both_clocks(tmp_path: Path) -> None:
    folder = run(tmp_path, "evaluation.every=25", "bn.recalibrate_every=25", "total_steps=50")
    assert steps_in(folder, "evaluations") == [0, 25, 50]
    assert after_rows(folder) == {25, 50}


@pytest.mark.slow
def test_phases_and_data_of_the_statistics_error(tmp_path: Path) -> None:
    rows = rows_of(run(tmp_path, "bn.recalibrate_every=50"), "statistics_error")
    found = {(int(r["timesteps"]), r["phase"], r["data"]) for r in rows}
    both = ("evaluation", "replay")
    assert found == {(0, "before", "evaluation")} | {
        (step, phase, data) for step in (50, 100) for phase in ("before", "after") for data in both
    }
    assert all(np.isfinite(float(r["wasserstein2"])) for r in rows)


def test_clocks_that_no_multiple_of_train_freq_hits(tmp_path: Path) -> None:
    settings = ["algo.train_freq=7", "evaluation.every=30", "bn.recalibrate_every=30"]
    folder = run(tmp_path, *settings, "total_steps=70")
    assert steps_in(folder, "evaluations") == [0, 35, 63, 70]
    assert after_rows(folder) == {35, 63}


@pytest.mark.slow
def test_evaluation_does_not_disturb_training(tmp_path: Path) -> None:
    often = run(tmp_path, "evaluation.every=10")
    never = run(tmp_path, "evaluation.every=1000")
    assert steps_in(often, "evaluations") == list(range(0, 101, 10))
    assert steps_in(never, "evaluations") == [0, 100]
    assert_same(parameters(often.model), parameters(never.model))
    assert generators(often).keys() == generators(never).keys()


@pytest.mark.slow
def test_recalibration_takes_nothing_from_the_global_generators(tmp_path: Path) -> None:
    """The same buffer indices and noise, however often (and whether) statistics are replaced."""
    runs = [
        run(tmp_path, "bn.recalibrate_every=20"),
        run(tmp_path, "bn.recalibrate_every=50"),
        run(tmp_path, "bn=vanilla", "bn.recalibrate_every=null"),
    ]
    first, *others = [generators(folder) for folder in runs]
    for other in others:
        assert first["numpy"][2] == other["numpy"][2]
        assert np.array_equal(first["numpy"][1], other["numpy"][1])
        assert torch.equal(first["torch"], other["torch"])
        assert first["python"] == other["python"]
        assert first["actions"] == other["actions"]
    statistics = [
        parameters(folder.model)[".policy.actor.network.layers.0.norm.moving_mean"]
        for folder in runs
    ]
    assert not torch.equal(statistics[0], statistics[1])


def generators(folder: RunFolder) -> dict[str, Any]:
    state = torch.load(folder.checkpoint / "save-1/state.pt", weights_only=False)
    found: dict[str, Any] = state["generators"]
    return found


@pytest.mark.slow
def test_two_runs_of_one_seed_are_identical_and_seeds_differ(tmp_path: Path) -> None:
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    other = run(tmp_path / "a", "seed=1")
    assert_same(parameters(first.model), parameters(again.model))
    tables = [(f.path / "evaluations.csv").read_bytes() for f in (first, again, other)]
    assert tables[0] == tables[1] != tables[2]


TEN = [6.9, 5.2, -1.6, -4.8, 0.2, -1.9, 5.7, -3.9, -0.5, 1.7]
"""Returns whose mean is another number when they are added one by one."""


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "returns", [{0: [1.0], 50: [3.0], 100: [2.0]}, {0: TEN, 50: TEN, 100: [-1.0] * 10}]
)
def test_the_best_model_is_that_of_the_best_evaluation_and_of_equal_ones_the_last(
    returns: dict[int, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(evaluator: Evaluator, agent: TD3, *given: Any) -> list[Episode]:
        played = returns[agent.num_timesteps]
        return [Episode(i, 100 + i, each, 1, np.zeros((1, 4))) for i, each in enumerate(played)]

    monkeypatch.setattr(Evaluator, "run", play)
    folder = run(tmp_path)
    assert TD3.load(folder.best_model).num_timesteps == 50
    assert TD3.load(folder.model).num_timesteps == 100


def test_log_and_checkpoint_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []

    def save(checkpoints: Any, agent: TD3, *rest: Any) -> list[str]:
        saved.append(agent.num_timesteps)
        return []

    monkeypatch.setattr(callbacks.Checkpoints, "save", save)
    folder = run(tmp_path, "log_every=30", "checkpoint.every=40", "total_steps=90")
    assert saved == [40, 80, 90]
    assert steps_in(folder, "progress") == [0, 30, 50, 60, 90]


# Other algorithms


def seen(folder: RunFolder) -> set[tuple[int, str, str]]:
    rows = rows_of(folder, "statistics_error")
    return {(int(row["timesteps"]), row["data"], row["phase"]) for row in rows}


def layers(folder: RunFolder) -> set[str]:
    return {row["layer"] for row in rows_of(folder, "statistics_error")}


@pytest.mark.slow
def test_ppo_refreshes_between_rollouts_and_is_evaluated_there(tmp_path: Path) -> None:
    settings = ["algo=ppo", "algo.n_steps=20", "algo.batch_size=10", "total_steps=90"]
    folder = run(tmp_path, *settings, "critic=spiking")
    assert steps_in(folder, "evaluations") == [0, 60, 100]
    assert seen(folder) == {(0, "evaluation", "before")} | {
        (step, data, phase)
        for step in (60, 100)
        for data in ("evaluation", "rollout")
        for phase in ("before", "after")
    }
    assert layers(folder) == {"layer0", "layer1", "critic.layer0"}
    progress = rows_of(folder, "progress")[-1]
    assert {"train/policy_gradient_loss", "firing_rate/critic.layer0"} <= progress.keys()


@pytest.mark.slow
def test_actor_and_critic_are_re_calibrated_by_their_own_clocks(tmp_path: Path) -> None:
    settings = ["algo=sac", "critic=spiking", "bn.recalibrate_every=50"]
    folder = run(tmp_path, *settings, "critic.bn.recalibrate_every=100")
    rows = [r for r in rows_of(folder, "statistics_error") if r["phase"] == "after"]
    found = {(int(row["timesteps"]), row["layer"]) for row in rows}
    actor, critic = {"layer0", "layer1"}, {"critic.q0.layer0", "critic.q1.layer0"}
    assert found == {(50, layer) for layer in actor} | {(100, layer) for layer in actor | critic}
    assert layers(folder) == actor | critic
    progress = rows_of(folder, "progress")[-1]
    assert {"firing_rate/critic.q0.encoder", "gain_mean/critic.q1.layer0"} <= progress.keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "asked"),
    [(["algo=ppo"], False), (["algo=ppo", "bn=ca_only"], True), (["algo=td3"], True)],
)
def test_gains_are_shown_where_the_rule_is_asked(
    settings: list[str], asked: bool, tmp_path: Path
) -> None:
    if settings[0] == "algo=td3":
        settings = [*settings, "bn.recalibrate_every=50"]
    progress = rows_of(run(tmp_path, *settings), "progress")[-1]
    assert ("gain_mean/layer0" in progress) is asked


@pytest.mark.slow
def test_a_spiking_critic_beside_an_ordinary_actor(tmp_path: Path) -> None:
    settings = ["algo=ddpg", "actor=ann", "critic=spiking", "critic.bn.recalibrate_every=50"]
    folder = run(tmp_path, *settings)
    assert layers(folder) == {"critic.q0.layer0"}
    assert after_rows(folder) == {50, 100}


@pytest.mark.slow
def test_dqn_on_images(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    folder = run(
        tmp_path, "algo=dqn", "env=minatar/breakout", "conv.channels=[2]", "total_steps=60"
    )
    assert layers(folder) == {"conv0", "layer0"}
    assert after_rows(folder) == set()  # re-calibrated at 40, evaluated at 50
    seeds = [int(row["seed"]) for row in rows_of(folder, "evaluations")]
    assert seeds == [child_seed(0, "evaluation", episode) for episode in range(2)] * 3


@pytest.mark.parametrize(
    ("part", "path", "name"),
    [
        ("actor", "network.layers.0.norm", "layer0"),
        ("actor", "network.encoder", "encoder"),
        ("q_network", "network.conv.layers.1.neuron", "conv1"),
        ("q_network", "network.layers.10.norm", "layer10"),
        ("critic", "network.layers.0.neuron", "critic.layer0"),
        ("critic", "network.conv.layers.0.norm", "critic.conv0"),
        ("critic", "networks.1.layers.2.norm", "critic.q1.layer2"),
        ("critic", "networks.0.encoder", "critic.q0.encoder"),
    ],
)
def test_short_names_of_layers(part: str, path: str, name: str) -> None:
    assert short(part, path) == name


@pytest.mark.slow
def test_environments_side_by_side_reach_every_clock(tmp_path: Path) -> None:
    settings = ["env.n_envs=3", "evaluation.every=30", "total_steps=61", "algo.gradient_steps=-1"]
    folder = run(tmp_path, *settings)
    assert steps_in(folder, "evaluations") == [0, 30, 60, 63]
    assert folder.finished_steps() == 63
    # Three updates for each step of the three environments, once the random ones are over.
    updates = [float(row["train/n_updates"]) for row in rows_of(folder, "progress")]
    assert updates[-1] == 63 - 20 + 2
