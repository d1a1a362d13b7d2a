"""``VecNormalize`` is saved with an agent and put around what it is loaded with: outermost only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from snnrl.agents import DQN, PPO, SAC, TD3, base
from snnrl.agents.base import SpikingAgent
from snnrl.errors import UserError
from tests.envs import Follow, MatchImage

SMALL_CONV = {"channels": [2], "kernels": [3], "strides": [1]}


class Hundredfold(VecEnvWrapper):
    """Changes observations, and says nothing of it in its space."""

    def reset(self) -> Any:
        return self.venv.reset() * 100  # type: ignore[operator]

    def step_wait(self) -> Any:
        observations, *rest = self.venv.step_wait()
        return observations * 100, *rest  # type: ignore[operator]


def _one_number() -> VecEnv:
    """Statistics of one number fit any observation."""
    return DummyVecEnv([lambda: Follow(observations=1, actions=1)])


COVERS: list[Callable[[VecEnv], VecEnv]] = [
    Hundredfold,
    VecMonitor,
    VecCheckNan,
    lambda env: VecFrameStack(env, 4),
    lambda env: VecNormalize(env, norm_reward=False),
]


@pytest.mark.parametrize("cover", COVERS)
@pytest.mark.parametrize("agent", [TD3, SAC, PPO])
def test_it_is_refused_beneath_another_wrapper(
    agent: type[SpikingAgent], cover: Callable[[VecEnv], VecEnv]
) -> None:
    env = cover(VecNormalize(_one_number()))
    name = type(env).__name__
    with pytest.raises(UserError) as error:
        agent("AnnPolicy", env)
    assert str(error.value) == (
        f"VecNormalize: is wrapped in {name}, and would wrap it once the agent is loaded; "
        f"expected VecNormalize outermost, as VecNormalize({name}(...))"
    )


def test_it_is_refused_deeper_too(tmp_path: Path) -> None:
    """In an environment that an agent is given later as well."""
    env = VecMonitor(VecFrameStack(VecNormalize(_one_number()), 4))
    fitting = VecFrameStack(_one_number(), 4)
    agent = TD3("AnnPolicy", fitting)
    with pytest.raises(UserError, match="VecNormalize: is wrapped in VecFrameStack"):
        agent.set_env(env)
    agent.save(tmp_path / "agent.zip")
    with pytest.raises(UserError, match="VecNormalize: is wrapped in VecFrameStack"):
        TD3.load(tmp_path / "agent.zip", env=env)


def test_it_may_be_above_any(tmp_path: Path) -> None:
    agent = PPO(
        "SpikingPolicy", VecNormalize(VecFrameStack(_one_number(), 4)), n_steps=16, batch_size=8
    )
    agent.learn(16)
    agent.save(tmp_path / "agent.zip")
    loaded = PPO.load(tmp_path / "agent.zip", env=VecFrameStack(_one_number(), 4))
    raw = np.linspace(-1, 1, 4)[None]
    np.testing.assert_array_equal(loaded.normalize(raw), agent.normalize(raw))
    assert isinstance(loaded.env, VecNormalize)


def test_it_may_scale_rewards_beneath_transposed_images(tmp_path: Path) -> None:
    """Where Stable-Baselines3 itself stands over it."""

    class ChannelsLast(MatchImage):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = type(self.observation_space)(0, 255, (8, 8, 1), np.uint8)

        def _observe(self) -> np.ndarray:
            return super()._observe().transpose(1, 2, 0)

    env = VecNormalize(DummyVecEnv([ChannelsLast]), norm_obs=False)
    agent = DQN("AnnPolicy", env, buffer_size=10, policy_kwargs={"conv": SMALL_CONV})
    assert isinstance(agent.env, VecTransposeImage)
    agent.save(tmp_path / "agent.zip")
    loaded = DQN.load(tmp_path / "agent.zip", env=DummyVecEnv([ChannelsLast]))
    for _ in range(2):
        assert isinstance(loaded.env, VecTransposeImage)
        assert isinstance(loaded.env.venv, VecNormalize)
        loaded.set_env(DummyVecEnv([ChannelsLast]))


def test_an_agent_of_an_earlier_version(tmp_path: Path) -> None:
    """It may have been trained with one beneath another wrapper."""
    with patch.object(base, "refuse_wrapped_normalization"):
        agent = TD3("AnnPolicy", VecFrameStack(VecNormalize(_one_number()), 4), buffer_size=10)
        agent.save(tmp_path / "agent.zip")
    for env in (None, VecFrameStack(_one_number(), 4)):
        with pytest.raises(
            UserError, match=r"VecNormalize: the saved one normalised Box\(.*\(1,\)"
        ):
            TD3.load(tmp_path / "agent.zip", env=env)
