"""Atari games: what they show, how they end, and what is random in them."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from snnrl.envs import make_env

GAMES = ["Pong", "Breakout", "SpaceInvaders", "Qbert", "Seaquest", "MsPacman", "BeamRider"]


def play(env: gymnasium.Env[Any, Any], steps: int) -> np.ndarray:
    """Observations under fixed actions, from where ``env`` stands to its end at most."""
    seen = []
    for action in np.random.default_rng(0).integers(2, 4, steps):
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(observation)
        if terminated or truncated:
            break
    return np.stack(seen)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("game", GAMES)
def test_ram(game: str) -> None:
    env = make_env(f"ALE/{game}-v5", "ram")
    assert env.observation_space == spaces.Box(0, 255, (128,), np.uint8)
    assert isinstance(env.action_space, spaces.Discrete)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    *_, info = env.step(0)
    assert info["episode_frame_number"] == 4


def test_pixels() -> None:
    env = make_env("ALE/Pong-v5", "pixels")
    assert env.observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
    assert env.action_space == spaces.Discrete(6)
    observation, _ = env.reset(seed=0)
    for _ in range(80):
        previous, (observation, *_, info) = observation, env.step(3)
    np.testing.assert_array_equal(observation[:3], previous[1:])
    assert (observation[3] != observation[2]).any()
    # 80 actions of four frames after 1 to 30 frames without any.
    assert 320 < info["episode_frame_number"] <= 350


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("observation", ["ram", "pixels"])
def test_an_episode_is_its_seeds(observation: str) -> None:
    env = make_env("ALE/Breakout-v5", observation)
    episodes = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        env.step(1)
        episodes.append(play(env, 40))
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert episodes[0].shape != episodes[2].shape or (episodes[0] != episodes[2]).any()


def test_what_follows_a_reset_comes_from_the_generator_given_then() -> None:
    """The emulator's own would begin every first episode alike."""
    env = make_env("ALE/Breakout-v5", "ram")
    episodes = []
    for stream in (0, 0, 1):
        env.reset(seed=5)
        env.unwrapped.np_random = np.random.default_rng(stream)
        episodes.append(play(env, 40))
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert (episodes[0] != episodes[2]).any()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_a_frame_repeats_the_one_before(
    probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ale_env = pytest.importorskip("ale_py.env")
    env = make_env("ALE/Pong-v5", "ram", repeat_action_probability=probability)
    env.reset(seed=0)
    frames: list[int] = []
    one_frame = ale_env.AtariEnv.step
    monkeypatch.setattr(
        ale_env.AtariEnv,
        "step",
        lambda self, action: (frames.append(action), one_frame(self, action))[1],
    )
    for step in range(500):
        env.step(2 + step % 2)
    # The first frame of a step shows the action before it where that was repeated.
    repeated = np.mean([frames[4 * k] != 2 + k % 2 for k in range(500)])
    assert len(frames) == 2000
    assert repeated == pytest.approx(probability, abs=0.06)


def test_v5_is_sticky() -> None:
    assert make_env("ALE/Pong-v5", "ram").unwrapped.repeat_action_probability == 0.25
    assert make_env("ALE/Pong-v5", "pixels").unwrapped.repeat_action_probability == 0.25


@pytest.mark.parametrize("observation", ["ram", "pixels"])
def test_a_time_limit_truncates(observation: str) -> None:
    env = make_env("ALE/Pong-v5", observation, max_num_frames_per_episode=100)
    env.reset(seed=0)
    ended = (False, False)
    while not any(ended):
        _, _, *ended, info = env.step(0)
    assert list(ended) == [False, True]
    assert info["episode_frame_number"] == 100


def test_the_time_limit_is_half_an_hour() -> None:
    env = make_env("ALE/Pong-v5", "ram")
    assert env.unwrapped.ale.getInt("max_num_frames_per_episode") == 108_000


def test_a_lost_life_ends_nothing_and_rewards_are_raw() -> None:
    env = make_env("ALE/SpaceInvaders-v5", "pixels")
    env.reset(seed=0)
    env.action_space.seed(0)
    lives, rewards, ended = set(), set(), False
    while not ended:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        lives.add(info["lives"])
        rewards.add(float(reward))
        ended = terminated or truncated
    assert lives == {0, 1, 2, 3}
    assert max(rewards) > 1


def test_the_end_of_a_game_terminates() -> None:
    env = make_env("ALE/Breakout-v5", "ram")
    env.reset(seed=0)
    ended = (False, False)
    while not any(ended):
        _, _, *ended, info = env.step(1)
    assert list(ended) == [True, False]
    assert info["lives"] == 0


@pytest.mark.parametrize("observation", ["ram", "pixels"])
def test_frames_can_be_filmed(observation: str) -> None:
    env = make_env("ALE/Pong-v5", observation, render_mode="rgb_array")
    env.reset(seed=0)
    frame: Any = env.render()
    assert frame.shape == (210, 160, 3)
    assert env.metadata["render_fps"] == 15


def test_a_copy_is_made_with_the_same_arguments() -> None:
    env = make_env("ALE/Pong-v5", "ram", repeat_action_probability=0.5, frameskip=3).unwrapped
    twin = copy.deepcopy(env)
    assert (twin.repeat_action_probability, twin.frames) == (0.5, 3)
    assert twin.observation_space == env.observation_space
