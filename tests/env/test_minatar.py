"""MinAtar's games: what they show, how they end, and what is random in them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from snnrl.envs import make_env
from snnrl.envs.minatar import EPISODE_STEPS, GAMES

CHANNELS = {"Asterix": 4, "Breakout": 4, "Freeway": 7, "Seaquest": 10, "SpaceInvaders": 6}
ACTIONS = {"Asterix": 5, "Breakout": 3, "Freeway": 3, "Seaquest": 6, "SpaceInvaders": 4}


def make(game: str, **options: Any) -> gymnasium.Env[Any, Any]:
    return make_env(f"MinAtar/{game}-v1", **options)


def play(env: gymnasium.Env[Any, Any], seed: int, steps: int = 200) -> tuple[np.ndarray, list[Any]]:
    """Observations, and rewards with ends, of random play over several episodes."""
    observation, _ = env.reset(seed=seed)
    actions = np.random.default_rng(0).integers(action_count(env), size=steps)
    seen, outcomes = [observation], []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        outcomes.append((reward, terminated, truncated))
        if terminated or truncated:
            observation, _ = env.reset()
        seen.append(observation)
    return np.stack(seen), outcomes


def action_count(env: gymnasium.Env[Any, Any]) -> int:
    assert isinstance(env.action_space, spaces.Discrete)
    return int(env.action_space.n)


@pytest.mark.parametrize("game", GAMES)
def test_spaces(game: str) -> None:
    env = make(game)
    assert env.observation_space == spaces.Box(0, 1, (CHANNELS[game], 10, 10), np.uint8)
    assert env.action_space == spaces.Discrete(ACTIONS[game])


@pytest.mark.parametrize("game", GAMES)
def test_random_play_is_its_seed(game: str) -> None:
    env = make(game)
    first, again, other = play(env, 0), play(env, 0), play(env, 1)
    assert all(observation in env.observation_space for observation in first[0])
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("game", GAMES)
def test_it_keeps_gymnasiums_rules(game: str) -> None:
    check_env(make(game, render_mode="rgb_array").unwrapped, skip_render_check=True)


def test_what_follows_a_reset_comes_from_the_generator_given_then() -> None:
    env = make("Asterix")
    episodes = []
    for stream in (0, 0, 1):
        env.reset(seed=5)
        env.unwrapped.np_random = np.random.default_rng(stream)
        episodes.append(np.stack([env.step(0)[0] for _ in range(60)]))
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert (episodes[0] != episodes[2]).any()


def test_an_action_sticks_one_time_in_ten() -> None:
    """Breakout's paddle, far from the walls, goes where it is told unless an action sticks."""
    env = make("Breakout")
    env.reset(seed=0)
    left, right, unmoved = 1, 2, 0
    for step in range(2000):
        paddle = _paddle(env)
        action = (left, right)[step % 2]
        _, _, terminated, _, _ = env.step(action)
        unmoved += _paddle(env) - paddle != (-1, 1)[step % 2]
        if terminated:
            env.reset()
    assert unmoved / 2000 == pytest.approx(0.1, abs=0.02)


def _paddle(env: Any) -> int:
    return int(env.unwrapped.game.env.pos)


def test_difficulty_grows() -> None:
    env: Any = make("Asterix")
    env.reset(seed=0)
    for _ in range(400):
        env.step(0)
        env.unwrapped.game.env.terminal = False
    assert env.unwrapped.game.env.difficulty_ramp() > 0


def test_a_long_episode_is_truncated() -> None:
    env: Any = make("Breakout")
    env.reset(seed=0)
    for step in range(1, EPISODE_STEPS + 1):
        env.unwrapped.game.env.pos = env.unwrapped.game.env.ball_x
        _, _, terminated, truncated, _ = env.step(0)
        assert not terminated
        assert truncated == (step == EPISODE_STEPS)


def test_the_end_of_a_game_terminates() -> None:
    env = make("Breakout")
    env.reset(seed=0)
    for _ in range(100):
        _, _, terminated, truncated, _ = env.step(1)
        if terminated:
            break
    assert terminated
    assert not truncated


@pytest.mark.parametrize("game", GAMES)
def test_frames_can_be_filmed(game: str) -> None:
    env: Any = make(game, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (160, 160, 3)
    assert frame.dtype == np.uint8
    cells = frame[::16, ::16].any(axis=-1)
    np.testing.assert_array_equal(cells, observation.any(axis=0))
