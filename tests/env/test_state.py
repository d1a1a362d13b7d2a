"""The whole state of an environment, and environments that go on from it."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import DtypeObservation
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from snnrl.envs import Stateful, get_state, make_env, obstacle, set_state
from tests.envs import Follow

CONTINUOUS = ["Pendulum-v1", "InvertedPendulum-v4", "HalfCheetah-v4", "Hopper-v5", "Ant-v4"]
DISCRETE = [
    ("CartPole-v1", "default"),
    ("Acrobot-v1", "default"),
    ("MinAtar/Asterix-v1", "default"),
    ("MinAtar/Breakout-v1", "default"),
    ("MinAtar/Freeway-v1", "default"),
    ("MinAtar/Seaquest-v1", "default"),
    ("MinAtar/SpaceInvaders-v1", "default"),
    ("ALE/Breakout-v5", "ram"),
    ("ALE/Qbert-v5", "ram"),
    ("ALE/Pong-v5", "pixels"),
]


def assert_they_go_on_alike(
    original: gymnasium.Env[Any, Any], restored: gymnasium.Env[Any, Any], actions: Any
) -> None:
    """Into the next episodes too, whose starts come from the environment's generator."""
    for action in actions:
        ours, theirs = original.step(action), restored.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
        if ours[2] or ours[3]:
            np.testing.assert_array_equal(original.reset()[0], restored.reset()[0])
    np.testing.assert_array_equal(original.reset()[0], restored.reset()[0])


@pytest.mark.parametrize("env_id", CONTINUOUS)
@pytest.mark.parametrize("steps", [0, 7])
def test_a_restored_environment_goes_on_identically(env_id: str, steps: int) -> None:
    original = make_env(env_id)
    original.reset(seed=3)
    assert original.action_space.shape
    actions = np.random.default_rng(0).uniform(-1, 1, (60, *original.action_space.shape))
    for action in actions[:steps]:
        original.step(action)
    state = get_state(original)
    assert state is not None
    restored = make_env(env_id)
    restored.reset(seed=99)
    set_state(restored, pickle.loads(pickle.dumps(state)))
    assert_they_go_on_alike(original, restored, actions[steps:])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("env_id", "observation"), DISCRETE)
def test_a_restored_game_goes_on_identically(env_id: str, observation: str) -> None:
    """From several moments, because a forgotten sticky action shows in one of four only."""
    original, restored = make_env(env_id, observation), make_env(env_id, observation)
    original.reset(seed=3)
    restored.reset(seed=99)
    original.action_space.seed(0)
    for _ in range(10):
        actions = [original.action_space.sample() for _ in range(20)]
        state = get_state(original)
        assert state is not None
        restored.step(actions[-1])
        set_state(restored, state)
        assert_they_go_on_alike(original, restored, actions)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("kind", "count", "env_id", "observation"),
    [
        (DummyVecEnv, 2, "MinAtar/Asterix-v1", "default"),
        (DummyVecEnv, 2, "ALE/Breakout-v5", "pixels"),
        (SubprocVecEnv, 1, "ALE/Breakout-v5", "ram"),
    ],
)
def test_vectorised_environments_hand_their_states_over(
    kind: type[DummyVecEnv] | type[SubprocVecEnv], count: int, env_id: str, observation: str
) -> None:
    makers = [partial(_make_stateful, env_id, observation) for _ in range(count)]
    original, restored = DummyVecEnv(makers), kind(makers)
    original.seed(3)
    try:
        original.reset()
        restored.reset()
        generator = np.random.default_rng(0)
        for _ in range(30):
            original.step(generator.integers(4, size=count))
        for index, state in enumerate(original.env_method("get_state")):
            restored.env_method("set_state", state, indices=index)
        for _ in range(60):
            actions = generator.integers(4, size=count)
            ours, theirs = original.step(actions), restored.step(actions)
            for our, their in zip(ours[:3], theirs[:3], strict=True):
                np.testing.assert_array_equal(our, their)
    finally:
        original.close()
        restored.close()


def _make_stateful(env_id: str, observation: str) -> gymnasium.Env[Any, Any]:
    return Stateful(Monitor(make_env(env_id, observation)))


def test_time_limits_are_part_of_the_state() -> None:
    original, restored = make_env("Pendulum-v1"), make_env("Pendulum-v1")
    for env in (original, restored):
        env.reset(seed=0)
    for _ in range(150):
        original.step(np.zeros(1))
    state = get_state(original)
    assert state is not None
    set_state(restored, state)
    truncated = [restored.step(np.zeros(1))[3] for _ in range(50)]
    assert truncated == [False] * 49 + [True]


def test_a_wrapper_with_a_function_has_a_state() -> None:
    original, restored = (
        Stateful(DtypeObservation(make_env("CartPole-v1"), np.float64)) for _ in range(2)
    )
    original.reset(seed=3)
    restored.reset(seed=99)
    original.step(1)
    state = original.get_state()
    assert state is not None
    restored.set_state(state)
    assert_they_go_on_alike(original, restored, [0, 1] * 30)


def test_what_cannot_be_pickled_has_no_state() -> None:
    class Holding(gymnasium.Wrapper[Any, Any, Any, Any]):
        held: Any = None

    env = Holding(Follow())
    env.reset(seed=0)
    assert get_state(env) is not None
    env.held = (n for n in range(3))
    assert get_state(env) is None
    assert Stateful(env).get_state() is None


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.parametrize(
    ("env_id", "observation", "why"),
    [
        ("LunarLander-v3", "default", "LunarLander.world (cannot pickle 'SwigPyObject' object)"),
        ("ALE/YarsRevenge-v5", "ram", "AtariGame.state_dict (yars_revenge: has no exact state)"),
    ],
)
def test_what_would_not_go_on_exactly_has_no_state(env_id: str, observation: str, why: str) -> None:
    env = make_env(env_id, observation)
    env.reset(seed=0)
    assert get_state(env) is None
    assert obstacle(env) == why


class Opaque(Follow):
    """Something in it cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.renderer = (number for number in ())


def test_an_opaque_environment_has_a_state_at_the_start_of_an_episode() -> None:
    original, restored = Stateful(Monitor(Opaque())), Stateful(Monitor(Opaque()))
    restored.reset(seed=99)
    original.reset(seed=3)
    for _ in range(3):
        assert original.only_between_episodes
        state = original.get_state()
        assert state is not None
        restored.set_state(state)
        for _ in range(8):
            action = np.zeros(2, np.float32)
            np.testing.assert_array_equal(original.step(action)[0], restored.step(action)[0])
            assert original.get_state() is None
        # The seeds of later episodes are part of the state; Monitor's has clocks.
        np.testing.assert_array_equal(original.reset()[0], restored.reset()[0])
        ours, theirs = (pickle.loads(env.get_state() or b"") for env in (restored, original))
        assert ours[:2] == theirs[:2]


def test_episodes_of_an_opaque_environment_differ_and_depend_on_the_first_seed() -> None:
    def starts(seed: int) -> list[float]:
        env = Stateful(Opaque())
        env.reset(seed=seed)
        return [float(env.reset()[0][0]) for _ in range(5)]

    assert starts(0) == starts(0) != starts(1)
    assert len(set(starts(0))) == 5
