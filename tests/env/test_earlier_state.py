"""States that earlier versions saved: they are put in place, or refused in one line."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TransformReward
from mujoco import MjModel

from snnrl.envs import Stateful, make_env, set_state
from snnrl.envs.checked import Checked
from snnrl.errors import UserError
from tests.env.test_state import assert_they_go_on_alike
from tests.env.test_state_graph import ZERO, BackReference, Lambda, Method, OwnEnv, Pickled
from tests.envs import Follow

MADE_ANEW = "env spec _cached_spec metadata observation_space action_space mujoco_renderer func"


def earlier_state(env: Any) -> bytes:
    """What version 0.1.0 wrote before states were graphs."""
    layers = []
    while True:
        if not isinstance(env, Checked):
            kept = {
                name: value
                for name, value in vars(env).items()
                if name not in MADE_ANEW.split() and not isinstance(value, MjModel)
            }
            layers.append(env.state_dict() if hasattr(env, "state_dict") else kept)
        if not isinstance(env, gymnasium.Wrapper):
            return pickle.dumps(layers)
        env = env.env


@pytest.mark.parametrize("env_id", ["Hopper-v4", "Pendulum-v1", "ALE/Breakout-v5"])
def test_the_state_of_an_earlier_version(env_id: str) -> None:
    observation = "ram" if env_id.startswith("ALE/") else "default"
    original, restored = make_env(env_id, observation), make_env(env_id, observation)
    original.reset(seed=3)
    restored.reset(seed=99)
    original.action_space.seed(0)
    actions = [original.action_space.sample() for _ in range(40)]
    for action in actions[:9]:
        original.step(action)
    set_state(restored, earlier_state(original))
    assert_they_go_on_alike(original, restored, actions[9:])


@pytest.mark.parametrize(
    ("env", "lost"),
    [
        (Method(), "what refers to Method"),
        (TransformReward(BackReference(), float), "what refers to BackReference"),
        (Pickled(), "what refers to Pickled"),
        (OwnEnv(), "what refers to InvertedPendulumEnv"),
    ],
)
def test_a_state_that_holds_a_copy_of_an_environment(env: Any, lost: str) -> None:
    env.reset(seed=0)
    state = earlier_state(env)
    assert Stateful(env).set_state(state) == (
        f"an earlier version saved the environment's state, without {lost}"
    )
    with pytest.raises(UserError, match=f"without {lost}"):
        set_state(env, state)


class OwnSimulator(Follow):
    """Keeps one under the name of an attribute of gymnasium's wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.func = [1.0]


def test_a_state_that_lacks_an_attribute() -> None:
    env = OwnSimulator()
    env.reset(seed=0)
    assert Stateful(env).set_state(earlier_state(env)) == (
        "an earlier version saved the environment's state, without OwnSimulator.func"
    )


def test_the_start_of_an_episode() -> None:
    """An environment that could not be pickled then, and can be now."""
    original, restored = Stateful(Lambda()), Stateful(Lambda())
    original.reset(seed=0)
    original.only_between_episodes = True
    original.reset(seed=3)
    original.reset()
    restored.reset(seed=99)
    state = original.get_state()
    assert state is not None
    assert restored.set_state(state) is None
    # It goes on as it was: its resets get seeds.
    assert restored.only_between_episodes
    for _ in range(3):
        np.testing.assert_array_equal(original.step(ZERO)[0], restored.step(ZERO)[0])
        np.testing.assert_array_equal(original.reset()[0], restored.reset()[0])


def test_the_state_of_another_environment() -> None:
    saved, other = make_env("Pendulum-v1"), make_env("CartPole-v1")
    for env in (saved, other):
        env.reset(seed=0)
    with pytest.raises(UserError, match="expected the state of an environment with the same"):
        set_state(other, earlier_state(saved.unwrapped))
