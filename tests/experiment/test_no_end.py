"""Evaluations that a signal finds, and environments whose episodes never end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from omegaconf import DictConfig, OmegaConf

from snnrl import evaluate
from snnrl.agents import TD3
from snnrl.agents.base import SpikingAgent
from snnrl.envs import Stateful, make_env
from snnrl.experiment.callbacks import Supervisor
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import settings_hash
from snnrl.experiment.episode_starts import EpisodeStarts
from snnrl.experiment.evaluation import Episode, EvaluationStopped, Evaluator
from snnrl.experiment.reproduction.remake import Recorded, remake
from tests.envs import Follow
from tests.experiment.helpers import (
    arguments,
    assert_same_run,
    folder_of,
    rows_of,
    slow_case,
    steps_in,
    train,
)


class Endless(Follow):
    """Has no end."""

    def __init__(self) -> None:
        super().__init__(steps=10**9)


@pytest.fixture
def endless() -> Iterator[list[str]]:
    gymnasium.register("Endless-v0", Endless)
    yield ["env.id=Endless-v0", "evaluation.episodes=1"]
    del gymnasium.registry["Endless-v0"]


def signal_in(evaluation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGTERM in the third step of the evaluation at a step, once."""
    original, sent = Evaluator.run, []

    def run(evaluator: Evaluator, agent: SpikingAgent, stops: Callable[[], bool]) -> list[Episode]:
        asked = 0

        def ask() -> bool:
            nonlocal asked
            asked += 1
            if asked == 3 and agent.num_timesteps == evaluation and not sent:
                sent.append(True)
                signal.raise_signal(signal.SIGTERM)
            return stops()

        return original(evaluator, agent, ask)

    monkeypatch.setattr(Evaluator, "run", run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["env=pendulum", "evaluation.episodes=1", "bn.recalibrate_every=25"],
        slow_case(["env=pendulum", "evaluation.episodes=1", "algo=ppo", "total_steps=96"]),
    ],
)
def test_a_signal_in_an_evaluation_leaves_it_to_the_run_that_goes_on(
    settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(tmp_path / "whole", *settings) == 0
    whole, stopped = (folder_of(tmp_path / name, *settings) for name in ("whole", "stopped"))
    steps = steps_in(whole, "evaluations")
    assert len(steps) == 3
    for step in steps:
        with monkeypatch.context() as patched:
            signal_in(step, patched)
            assert train(tmp_path / "stopped", *settings) == 143
        line = f"stopped at step {step:,} and saved; the same command resumes it"
        assert capsys.readouterr().err.splitlines()[-1] == line
        assert not (stopped.path / "FAILED").exists()
        assert not (stopped.path / "DONE").exists()
        if step:
            assert step not in steps_in(stopped, "evaluations")
    assert train(tmp_path / "stopped", *settings) == 0
    assert_same_run(stopped, whole)


def test_a_run_without_an_end_says_so_and_stops_at_a_signal(
    endless: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signal_in(0, monkeypatch)
    assert train(tmp_path, *endless) == 143
    warning, *_, last = capsys.readouterr().err.splitlines()
    assert warning.startswith("env.id=Endless-v0: has no known time limit")
    assert "evaluation.max_episode_steps=1000" in warning
    assert last.startswith("stopped at step 0 and saved")


def test_its_evaluations_are_cut_off(
    endless: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*endless, "evaluation.max_episode_steps=7"]
    assert train(tmp_path, *settings) == 0
    assert "time limit" not in capsys.readouterr().err
    folder = folder_of(tmp_path, *settings)
    assert {row["length"] for row in rows_of(folder, "evaluations")} == {"7"}
    # And those of the trained agent.
    assert evaluate.main([str(folder.path), "--episodes", "1"]) == 0
    assert " in 7 steps" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "lengths"), [(None, [4, 6]), (5, [4, 5]), (1, [1, 1])])
def test_episodes_are_cut_off_one_by_one(limit: int | None, lengths: list[int]) -> None:
    ends = iter([4, 6])
    agent = TD3("AnnPolicy", Follow(), seed=0, policy_kwargs={"net_arch": [8]})
    evaluator = Evaluator(lambda: Follow(steps=next(ends)), 2, EpisodeStarts(0), limit)
    assert [episode.length for episode in evaluator.run(agent)] == lengths


def test_environments_are_closed_when_an_evaluation_is_given_up() -> None:
    class Closing(Follow):
        def close(self) -> None:
            closed.append(self)

    closed: list[Closing] = []
    agent = TD3("AnnPolicy", Follow(), seed=0, policy_kwargs={"net_arch": [8]})
    state = np.random.get_state()[1]
    with pytest.raises(EvaluationStopped):
        Evaluator(Closing, 2, EpisodeStarts(0)).run(agent, lambda: True)
    assert len(closed) == 2
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("asked", "waits", "between", "stops"),
    [
        (None, False, True, False),
        (15, False, False, True),
        (15, True, True, True),
        # No checkpoint can be made in its place.
        (15, True, False, False),
    ],
)
def test_an_evaluation_is_given_up_for_a_checkpoint_only(
    asked: int | None, waits: bool, between: bool, stops: bool
) -> None:
    supervisor: Any = SimpleNamespace(
        stop=SimpleNamespace(signal_number=asked),
        waits=waits,
        _between_episodes=lambda: between,
    )
    assert Supervisor._stops(supervisor) is stops


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda: make_env("CartPole-v1"), 500),
        (lambda: make_env("Hopper-v4"), 1000),
        (lambda: make_env("MinAtar/Breakout-v1"), 10_000),
        (lambda: TimeLimit(Follow(), 9), 9),
        (lambda: gymnasium.wrappers.TransformReward(TimeLimit(Follow(), 9), float), 9),
        (Follow, None),
    ],
)
def test_the_time_limit_that_is_known(
    make: Callable[[], gymnasium.Env[Any, Any]], limit: int | None
) -> None:
    assert Stateful(make()).time_limit == limit


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "ALE/Breakout-v5"])
def test_an_atari_game_has_an_end(env_id: str) -> None:
    limit = Stateful(make_env(env_id, "ram")).time_limit
    assert limit is not None
    assert limit > 1000


def test_the_limit_is_in_the_hash_only_where_it_is_set(tmp_path: Path) -> None:
    plain, null, set_ = (
        compose_config(arguments(tmp_path, *more))
        for more in (
            [],
            ["evaluation.max_episode_steps=null"],
            ["evaluation.max_episode_steps=100"],
        )
    )
    without = OmegaConf.create(OmegaConf.to_container(plain))
    assert isinstance(without, DictConfig)
    del without.evaluation["max_episode_steps"]
    assert settings_hash(without) == settings_hash(plain) == settings_hash(null)
    assert settings_hash(set_) != settings_hash(plain)


def test_a_run_from_before_there_was_a_limit_is_made_again_without(tmp_path: Path) -> None:
    cfg = compose_config(arguments(tmp_path))
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    del config["evaluation"]["max_episode_steps"]
    again, overrides = remake(Recorded(tmp_path, config, "", [{}]), tmp_path / "again")
    assert again.evaluation.max_episode_steps is None
    assert settings_hash(again) == settings_hash(cfg)
    assert "evaluation.max_episode_steps=null" in overrides


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_odd_limits(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "results", f"evaluation.max_episode_steps={value}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: evaluation.max_episode_steps={value}: expected")


@pytest.mark.parametrize("threads", [1025, 100_000])
def test_more_threads_than_a_system_starts(
    threads: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "results", f"threads={threads}") == 2
    line = f"error: threads={threads}: expected at most 1024\n"
    assert capsys.readouterr().err == line
    assert list(tmp_path.iterdir()) == []
