"""The whole state of an environment, so that training goes on where it stopped."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import mujoco

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
    ``vec_env.env_method("get_state")``."""

    def get_state(self) -> bytes | None:
        """:func:`get_state` of the environment, with every wrapper below this one."""
        return get_state(self.env)

    def set_state(self, state: bytes) -> None:
        """:func:`set_state` of the environment."""
        set_state(self.env, state)


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
