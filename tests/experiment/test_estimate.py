from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from snnrl.agents import PPO, TD3
from snnrl.experiment import estimate
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.config import compose_config
from snnrl.experiment.estimate import in_words, seconds_for
from tests.experiment.helpers import arguments


@pytest.mark.quick_cases(2)
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


def test_ppo_is_timed_by_whole_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config(arguments(tmp_path, "algo=ppo", "algo.n_steps=2048"))
    rollouts: list[int] = []

    def train(agent: PPO) -> None:
        rollouts.append(agent.rollout_buffer.pos)

    monkeypatch.setattr(PPO, "train", train)
    seconds_for(cfg, 1_000)
    assert rollouts == [32, 32]  # four minibatches of eight: one to warm up, one to time


@pytest.mark.parametrize(("n_envs", "steps"), [(1, 32), (2, 16), (3, 8), (5, 8), (16, 2)])
def test_ppos_trial_is_whole_minibatches_of_few_steps(
    n_envs: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["algo=ppo", "algo.n_steps=2048", f"env.n_envs={n_envs}"]
    cfg = compose_config(arguments(tmp_path, *settings))
    asked: list[int] = []
    monkeypatch.setattr(estimate, "build_agent", lambda cfg, env, n_steps: asked.append(n_steps))
    _, warm_up, trial = estimate._trial(cfg, None)  # type: ignore[arg-type]
    assert asked == [steps]
    assert warm_up == trial == steps * n_envs
    assert trial % cfg.algo.batch_size == 0


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
