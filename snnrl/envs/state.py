"""The whole state of an environment, so that training goes on where it stopped."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import mujoco
import numpy as np

from snnrl.seeds import SEEDINGS, Independent

_MADE_ANEW = {
    "env",
    "spec",
    "_cached_spec",
    "metadata",
    "observation_space",
    "action_space",
    "mujoco_renderer",
    "func",
}
"""Attributes that a new environment has by itself; ``func`` is what gymnasium's wrappers apply to
observations, actions or rewards, often a lambda, which cannot be pickled."""


class Stateful(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Gives an environment's state to a vectorised environment, whichever process it lives in:
    ``vec_env.env_method("get_state")``.

    One that cannot be pickled (``only_between_episodes``) has a state until the first step of an
    episode: the seed that the episode was started with. So that there is one, its resets get seeds,
    drawn from the seed of the first.

    :param env: the environment
    :param seeding: how those seeds follow
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], seeding: Independent = SEEDINGS["independent"]
    ):
        super().__init__(env)
        self._seeding = seeding
        self.only_between_episodes = False
        self._is_new = True
        self._seeds = np.random.default_rng()
        self._start: tuple[int, dict[str, Any]] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As gymnasium's."""
        if seed is not None:
            # The environment's own generator starts from the seed alone.
            self._seeds = self._seeding.stream(seed, "episodes")
        elif self.only_between_episodes:
            seed = int(self._seeds.integers(2**31))
        result = self.env.reset(seed=seed, options=options)
        if self._is_new:
            self._is_new = False
            self.only_between_episodes = get_state(self.env) is None
        self._start = None if seed is None else (seed, dict(self._seeds.bit_generator.state))
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As gymnasium's."""
        self._start = None
        return self.env.step(action)

    def get_state(self) -> bytes | None:
        """:func:`get_state` of the environment, with every wrapper below this one.

        :return: ``None`` within an episode of an environment that cannot be pickled
        """
        if not self.only_between_episodes:
            return get_state(self.env)
        return None if self._start is None else pickle.dumps(self._start)

    def set_state(self, state: bytes) -> None:
        """:func:`set_state` of the environment, which was reset once."""
        if not self.only_between_episodes:
            set_state(self.env, state)
            return
        seed, self._seeds.bit_generator.state = self._start = pickle.loads(state)
        self.env.reset(seed=seed)


def get_state(env: gymnasium.Env[Any, Any]) -> bytes | None:
    """Pickle everything that changes in ``env`` and in each of its wrappers.

    That is a layer's attributes, or its ``state_dict()`` where it has one. For MuJoCo the whole
    ``MjData`` belongs to it: its integration state alone gives wrong first rewards.

    :return: the state, or ``None`` for an environment that holds something that cannot be pickled
    """
    try:
        return pickle.dumps([_changing(layer) for layer in _layers(env)])
    except (TypeError, AttributeError, pickle.PicklingError, RuntimeError):
        return None


def set_state(env: gymnasium.Env[Any, Any], state: bytes) -> None:
    """Put ``env``, made like the one that :func:`get_state` saw, into that one's state."""
    for layer, saved in zip(_layers(env), pickle.loads(state), strict=True):
        if hasattr(layer, "load_state_dict"):
            layer.load_state_dict(saved)
        else:
            vars(layer).update(saved)


def _layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _changing(layer: Any) -> Any:
    if hasattr(layer, "state_dict"):
        return layer.state_dict()
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in _MADE_ANEW and not isinstance(value, mujoco.MjModel)
    }
