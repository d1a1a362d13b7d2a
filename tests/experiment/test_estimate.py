from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.agents import DQN, PPO, TD3
from snnrl.experiment import estimate
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.estimate import in_words, seconds_for
from tests.experiment.helpers import arguments


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["algo=ddpg", "algo.train_freq=3"],
        ["algo=sac", "critic=spiking"],
        ["algo=dqn", "env=cartpole"],
        ["algo=ppo"],
        ["algo=ppo", "env.n_envs=2"],
    ],
)
def test_it_grows_with_what_is_left(settings: list[str], tmp_path: Path) -> None:
    cfg = compose_config(arguments(tmp_path, *settings))
    few, many = seconds_for(cfg, 1_000), seconds_for(cfg, 1_000_000)
    assert 0 < few < many


def test_the_trial_does_not_recalibrate_and_leaves_the_agent_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config(arguments(tmp_path, "bn.recalibrate_every=1"))
    env = build_training_env(cfg)
    expected = build_agent(cfg, env)
    noise = np.random.random(), torch.rand(1)

    def refuse(agent: TD3) -> None:
        raise AssertionError

    monkeypatch.setattr(TD3, "recalibrate", refuse)
    seconds_for(cfg, 1_000)
    agent = build_agent(cfg, env)
    assert (np.random.random(), torch.rand(1)) == noise
    for ours, theirs in zip(agent.policy.parameters(), expected.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("random_steps", "training"), [(20, 980), (800, 200), (1_000, 0)])
def test_random_steps_make_no_updates(
    random_steps: int, training: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were counted as if they trained."""
    settings = [f"algo.learning_starts={random_steps}", "evaluation.every=1000000000000"]
    cfg = compose_config(arguments(tmp_path, *settings))
    trial = SimpleNamespace(seconds=10.0, updating=9.0, updates=20, steps=20)
    monkeypatch.setattr(estimate, "_timed", lambda agent, length: agent.learn(1) and trial)
    expected = 1_000 * 1 / 20 + training * 9 / 20
    assert seconds_for(cfg, 1_000) == pytest.approx(expected, abs=1e-3)


def test_ppo_is_timed_by_whole_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config(arguments(tmp_path, "algo=ppo", "algo.n_steps=2048"))
    rollouts: list[int] = []

    def train(agent: PPO) -> None:
        rollouts.append(agent.rollout_buffer.pos)

    monkeypatch.setattr(PPO, "train", train)
    ticks = count()
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(ticks) / 1000)
    seconds_for(cfg, 1_000)
    assert rollouts == [32, 32]  # four minibatches of eight: one to warm up, one to time


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("n_envs", "steps"), [(1, 32), (2, 16), (3, 8), (5, 8), (16, 2)])
def test_ppos_trial_is_whole_minibatches_of_few_steps(
    n_envs: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["algo=ppo", "algo.n_steps=2048", f"env.n_envs={n_envs}"]
    cfg = compose_config(arguments(tmp_path, *settings))
    asked: list[int] = []
    monkeypatch.setattr(estimate, "build_agent", lambda *_, **kw: asked.append(kw["n_steps"]))
    _, trial, _ = estimate._trial(cfg, None)  # type: ignore[arg-type]
    assert asked == [steps]
    assert trial == steps * n_envs
    assert trial % cfg.algo.batch_size == 0


class Clock:
    """A clock that moves only when something that is counted takes its time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("snnrl.experiment.estimate.time.perf_counter", clock)
    return clock


def costing(
    seconds_a_step: float, seconds_an_update: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment steps and gradient steps (minibatches) that take so long and do nothing else."""
    step_wait = DummyVecEnv.step_wait

    def step(env: DummyVecEnv) -> Any:
        clock.now += seconds_a_step
        return step_wait(env)

    def train(agent: TD3 | DQN, gradient_steps: int, batch_size: int) -> None:
        clock.now += gradient_steps * seconds_an_update

    def iterate(agent: PPO) -> None:
        minibatches = agent.n_steps * agent.n_envs // agent.batch_size
        of_eight = agent.batch_size / 8
        clock.now += agent.n_epochs * minibatches * of_eight * seconds_an_update

    monkeypatch.setattr(DummyVecEnv, "step_wait", step)
    for kind in (TD3, DQN):
        monkeypatch.setattr(kind, "train", train)
    monkeypatch.setattr(PPO, "train", iterate)


MANY = [
    # Gradient steps or minibatches of each environment step.
    (["algo.gradient_steps=1000"], 1000),
    (["algo.gradient_steps=1000", "algo.train_freq=500"], 2),
    (["algo.gradient_steps=-1", "algo.train_freq=100"], 1),
    (["algo.train_freq=100000"], 1e-5),
    (["algo.batch_size=100000"], 1),
    (["algo=dqn", "env=cartpole", "algo.gradient_steps=300", "algo.train_freq=3"], 100),
    (["algo=dqn", "env=cartpole", "algo.batch_size=500", "algo.replacement=false"], 1 / 4),
    (["algo=ppo", "algo.n_epochs=1000", "algo.n_steps=64"], 125),
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("settings", "updates_a_step"), MANY)
@pytest.mark.parametrize(("step", "update"), [(3.0, 0.01), (0.001, 20.0)])
def test_it_takes_seconds_whatever_is_asked_for(
    settings: list[str],
    updates_a_step: float,
    step: float,
    update: float,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = ["evaluation.every=1000000000"]
    cfg = compose_config(arguments(tmp_path, *settings, *every))
    if settings[0] == "algo=dqn" and "algo.train_freq=3" not in settings:
        cfg.algo.train_freq, cfg.algo.gradient_steps = 4, 1
    costing(step, update, clock, monkeypatch)
    seconds = seconds_for(cfg, 1000)
    # Twice a part of five seconds, or of the few updates that there must be.
    few = 40 if cfg.algo.name == "ppo" else 1
    assert clock.now < 2 * (5 + few * update + 3 * step) + 25
    training = 1000 - cfg.algo.get("learning_starts", 0)
    assert seconds == pytest.approx(1000 * step + training * updates_a_step * update, rel=0.01)


def test_a_slow_environment_s_rollout_is_short(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    costing(0.5, 0.0, clock, monkeypatch)
    settings = ["algo=ppo", "algo.n_steps=4096", "algo.batch_size=4096"]
    seconds = seconds_for(compose_config(arguments(tmp_path, *settings)), 1000)
    assert seconds == pytest.approx(500)
    assert clock.now < 30


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (95, "95 s"),
        (119, "119 s"),
        (720, "12 min"),
        (5399, "90 min"),
        (27000, "7.5 h"),
    ],
)
def test_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
