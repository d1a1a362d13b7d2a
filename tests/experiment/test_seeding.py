"""What a run draws besides weights, exploration and minibatches."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy import stats

from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.episode_starts import AdditiveStarts, EpisodeStarts
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.reproduction.remake import read_record, remake
from snnrl.experiment.trained import load_trained
from tests.experiment.helpers import (
    assert_same_run,
    folder_of,
    parameters,
    rows_of,
    slow_case,
    train,
)
from tests.experiment.stopped import crash_at
from tests.random_envs import Luck

CARELESS = ["env.id=tests.random_envs:Careless-v0", "evaluation.episodes=2", "checkpoint.every=40"]
RESULTS = Path(__file__).parents[2] / "results"
TIRING = ["env.id=tests.random_envs:Tiring-v0", "evaluation.episodes=2", "checkpoint.every=40"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "settings",
    [
        [*CARELESS, "env.n_envs=2"],
        slow_case([*CARELESS, "env.n_envs=2", "algo=ppo"]),
        slow_case(CARELESS),
        TIRING,
    ],
)
def test_two_fresh_runs_and_an_interrupted_one_end_alike(
    settings: list[str], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        assert train(tmp_path / name, *settings) == 0
    crash_at(78, tmp_path / "interrupted", *settings)
    assert train(tmp_path / "interrupted", *settings) == 0
    one, two, interrupted = (
        folder_of(tmp_path / name, *settings) for name in ("one", "two", "interrupted")
    )
    assert_same_run(one, two)
    assert_same_run(interrupted, one)


def test_every_evaluation_plays_in_new_environments(tmp_path: Path) -> None:
    # Nothing moves until after the second evaluation.
    settings = [*TIRING, "algo.learning_starts=60", "bn.recalibrate_every=null"]
    assert train(tmp_path, *settings) == 0
    rows = rows_of(folder_of(tmp_path, *settings), "evaluations")
    returns = {(row["timesteps"], row["episode"]): row["return"] for row in rows}
    for episode in "01":
        assert returns["0", episode] == returns["50", episode]


@pytest.mark.slow
def test_evaluations_leave_training_s_generators_alone(tmp_path: Path) -> None:
    often, rarely = (
        [*CARELESS, f"evaluation.every={every}", "bn.recalibrate_every=null"] for every in (10, 90)
    )
    assert train(tmp_path, *often) == 0
    assert train(tmp_path, *rarely) == 0
    ours, theirs = (parameters(folder_of(tmp_path, *s).model) for s in (often, rarely))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


# Independent samples


class Idle:
    """Acts 0; what an :class:`Evaluator` asks an agent for."""

    num_timesteps = 0
    observation_space = Luck.observation_space

    def __init__(self, env: gymnasium.Env[Any, Any]):
        self.action = np.zeros(env.action_space.shape or (), env.action_space.dtype)

    def normalize(self, observations: np.ndarray) -> np.ndarray:
        return observations

    def predict(
        self, observation: np.ndarray, state: None, episode_start: np.ndarray, deterministic: bool
    ) -> tuple[np.ndarray, None]:
        return np.stack([self.action] * len(observation)), None


def covered(starts: type[EpisodeStarts], continuous: bool, sweeps: int = 300) -> float:
    """How often the 95 % t interval over five neighbouring seeds holds the truth, 0."""

    def final_return(seed: int) -> float:
        evaluator = Evaluator(lambda: Luck(continuous), 10, starts(seed))
        agent: Any = Idle(Luck(continuous))
        return float(np.mean([episode.total_reward for episode in evaluator.run(agent)]))

    hits = 0
    for sweep in range(sweeps):
        returns = [final_return(100 * sweep + seed) for seed in range(5)]
        low, high = stats.t.interval(0.95, 4, np.mean(returns), stats.sem(returns))
        hits += low < 0 < high
    return hits / sweeps


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("continuous", [False, True])
def test_an_interval_over_neighbouring_seeds_covers_what_it_says(continuous: bool) -> None:
    # 0.95 with a standard error of 0.013.
    assert 0.91 < covered(EpisodeStarts, continuous) < 0.99


@pytest.mark.slow
def test_sums_of_seeds_do_not() -> None:
    assert covered(AdditiveStarts, continuous=False) < 0.6
    assert covered(AdditiveStarts, continuous=True) > 0.91


@pytest.mark.slow
def test_critic_and_actor_are_recalibrated_from_other_minibatches(tmp_path: Path) -> None:
    settings = ["critic=spiking", "env=pendulum", "total_steps=45"]
    assert train(tmp_path, *settings) == 0
    folder = folder_of(tmp_path, *settings)
    agent: Any = load_trained(folder.cfg, folder.model)
    draws = [generator.random() for generator in agent.recalibration_generators.values()]
    assert len(set(draws)) == 3


# Recorded runs


def test_recorded_runs_keep_their_hashes_and_folders() -> None:
    recorded = sorted(RESULTS.glob("*/*/*/seed-0/config.yaml"))
    assert len(recorded) > 20
    for file in recorded:
        if file.parent.parent.name.endswith("-stock") or RESULTS / "runs" in file.parents:
            continue  # not of the train command, or one's own
        record = read_record(file.parent)
        cfg, _ = remake(record, Path("elsewhere"))
        assert cfg.seeding == record.config.get("seeding", "additive")
        cfg.kernel.name = record.config["kernel"]["name"]
        assert file.parent.parent.name.endswith(f"-{settings_hash(cfg)}"), file


def test_seeding_is_in_the_hash_and_not_in_the_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    new, old = (RunFolder(compose_config([f"seeding={s}"])) for s in ("independent", "additive"))
    assert label(new.cfg) == label(old.cfg)
    assert new.path != old.path
    assert RunFolder(compose_config()).path == new.path


@pytest.mark.slow
def test_an_earlier_run_of_the_same_settings_is_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["env=pendulum", "total_steps=25", "evaluation.episodes=1"]
    assert train(tmp_path, *settings, "seeding=additive") == 0
    assert "an earlier run" not in capsys.readouterr().out
    assert train(tmp_path, *settings) == 0
    earlier = folder_of(tmp_path, *settings, "seeding=additive").path
    said = f"an earlier run of these settings is in {earlier}; seeding=additive resumes it"
    assert said in capsys.readouterr().out


def test_additive_runs_play_the_published_starts(tmp_path: Path) -> None:
    settings = ["env=pendulum", "seeding=additive", "total_steps=25", "evaluation.episodes=3"]
    assert train(tmp_path, *settings) == 0
    with (folder_of(tmp_path, *settings).path / "evaluations.csv").open() as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"100"}


def test_an_unknown_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "seeding=aditive") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "seeding=aditive: expected one of independent, additive; did you mean" in line
