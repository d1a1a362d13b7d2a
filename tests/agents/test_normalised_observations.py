"""Agents that learn from replay see observations normalised by running statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.agents import DQN, TD3, ObservationNormalizer
from snnrl.errors import UserError
from tests.agents.helpers import small, task
from tests.envs import Follow, MatchImage

CLIP = 1.5


class Far(Follow):
    """Observations of mean 50 and of deviations 1 and 100, and now and then one far away."""

    def _observe(self) -> np.ndarray:
        observed = super()._observe()
        far = 20.0 if self.np_random.random() < 0.2 else 1.0
        self.seen = (50 + observed * far * np.array([1.0, 100.0])).astype(np.float32)
        return self.seen


def env_of(variant: str, n: int = 1) -> ObservationNormalizer:
    make = (lambda: task("dqn")) if variant == "dqn" else Far
    return ObservationNormalizer(DummyVecEnv([make] * n), CLIP)


def z_scores(env: Any, observed: np.ndarray) -> np.ndarray:
    moments = env.obs_rms
    return np.clip((observed - moments.mean) / np.sqrt(moments.var + env.epsilon), -CLIP, CLIP)


def test_statistics_are_those_of_all_observations() -> None:
    env = ObservationNormalizer(DummyVecEnv([Far]), CLIP)
    (inside,) = env.venv.envs
    env.seed(3)
    env.reset()
    seen = [inside.seen]
    ends = 0
    for _ in range(20):
        shown, _, dones, infos = env.step(np.zeros((1, 2)))
        seen.append(inside.seen)
        # The last observation of an episode is handed on, and is none of the statistics'.
        for info in np.array(infos)[dones]:
            ends += 1
            raw = info["original_terminal_observation"]
            np.testing.assert_allclose(info["terminal_observation"], z_scores(env, raw), rtol=1e-6)
            assert not np.array_equal(raw, inside.seen)
    assert ends == 2
    # The running count starts at 1e-4.
    np.testing.assert_allclose(env.obs_rms.mean, np.mean(seen, 0), rtol=1e-3)
    np.testing.assert_allclose(env.obs_rms.var, np.var(seen, 0), rtol=1e-2)
    np.testing.assert_allclose(shown, z_scores(env, np.array(seen[-1:])), rtol=1e-6)
    assert np.abs(shown).max() <= CLIP


def test_a_terminal_observation_stays_as_it_was_observed() -> None:
    """Stable-Baselines3 takes it back from the normalised one, which has been clipped."""
    env = ObservationNormalizer(DummyVecEnv([Far]), 0.01)
    agent = small("td3", env, learning_starts=30)
    stored: list[np.ndarray] = []
    (inside,) = env.venv.envs
    observe = Far._observe

    def _observe(self: Far) -> np.ndarray:
        stored.append(observe(self))
        return stored[-1]

    inside._observe = _observe.__get__(inside)
    agent.learn(24)
    buffer = agent.replay_buffer
    # Three episodes: a first observation, eight steps.
    episodes = np.array(stored[:27]).reshape(3, 9, 2)
    np.testing.assert_array_equal(buffer.observations[:24, 0], episodes[:, :-1].reshape(24, 2))
    np.testing.assert_array_equal(buffer.next_observations[:24, 0], episodes[:, 1:].reshape(24, 2))
    assert buffer.timeouts[:24, 0].tolist() == ([0.0] * 7 + [1.0]) * 3


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn"])
def test_minibatches_have_the_present_statistics(variant: str, n: int) -> None:
    env = env_of(variant, n)
    agent = small(variant, env)
    learned: list[Any] = []
    draw, take = agent._minibatch, agent._take
    states: list[Any] = []

    def _minibatch(batch_size: int) -> Any:
        states.append(np.random.get_state())
        return draw(batch_size)

    def _take(step: Any, batch: Any) -> None:
        now = np.random.get_state()
        np.random.set_state(states[-1])
        raw = agent.replay_buffer.sample(len(batch.rewards), env=None)
        np.random.set_state(now)
        for name in ("observations", "next_observations"):
            expected = z_scores(env, getattr(raw, name).numpy())
            np.testing.assert_allclose(getattr(batch, name).numpy(), expected, rtol=1e-4, atol=1e-5)
        assert (raw.rewards == batch.rewards).all()
        assert (raw.actions == batch.actions).all()
        learned.append(batch)
        take(step, batch)

    agent._minibatch, agent._take = _minibatch, _take
    agent.learn(40)
    assert len(learned) >= 10


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn"])
def test_recalibration_has_the_present_statistics(variant: str) -> None:
    env = env_of(variant)
    agent = small(variant, env).learn(24)
    (part, *_) = agent.parts()
    observations, *_ = agent.sample_inputs(part, 12, np.random.default_rng(3))
    rows = np.random.default_rng(3).integers(agent.replay_buffer.size(), size=12)
    expected = z_scores(env, agent.replay_buffer.observations[rows, 0])
    np.testing.assert_allclose(observations.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn"])
def test_a_loaded_agent_has_them(variant: str, tmp_path: Path) -> None:
    agent = small(variant, env_of(variant)).learn(40)
    agent.save(tmp_path / "agent.zip")
    for env in (None, task(variant)):
        loaded = type(agent).load(tmp_path / "agent.zip", env=env, device="cpu")
        shown = agent.observation_space.sample() * 30 + 50
        np.testing.assert_array_equal(loaded.normalize(shown), agent.normalize(shown))
        assert not np.array_equal(loaded.normalize(shown), shown)
        if env is not None:
            assert isinstance(loaded.env, ObservationNormalizer)
            assert loaded.env.clip_obs == CLIP
            loaded.learn(10)
    assert loaded.env.obs_rms.count > agent.env.obs_rms.count


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bound_that_is_none(clip: float) -> None:
    with pytest.raises(UserError, match=r"^clip_observations=.*: expected "):
        ObservationNormalizer(DummyVecEnv([Follow]), clip)


def test_bytes_are_refused() -> None:
    class Bytes(Follow):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = spaces.Box(0, 255, (2,), np.uint8)  # type: ignore[assignment]

    for make in (Bytes, MatchImage):
        with pytest.raises(
            UserError, match=r"^ObservationNormalizer: observations are uint8; expected an env"
        ):
            ObservationNormalizer(DummyVecEnv([make]), CLIP)


def test_it_is_not_around_by_itself() -> None:
    for agent in (small("td3"), small("dqn")):
        assert agent.get_vec_normalize_env() is None
        assert isinstance(agent, TD3 | DQN)
