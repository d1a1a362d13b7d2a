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
}
"""Attributes that a new environment has by itself."""


def get_state(env: gymnasium.Env[Any, Any]) -> bytes | None:
    """Pickle everything that changes in ``env`` and in each of its wrappers.

    For MuJoCo that is the whole ``MjData``: its integration state alone gives wrong first rewards.

    :return: the state, or ``None`` for an environment that holds something that cannot be pickled
    """
    try:
        return pickle.dumps([_changing(layer) for layer in _layers(env)])
    except (TypeError, AttributeError, pickle.PicklingError, RuntimeError):
        return None


def set_state(env: gymnasium.Env[Any, Any], state: bytes) -> None:
    """Put ``env``, made like the one that :func:`get_state` saw, into that one's state."""
    for layer, saved in zip(_layers(env), pickle.loads(state), strict=True):
        vars(layer).update(saved)


def _layers(env: gymnasium.Env[Any, Any]) -> list[Any]:
    layers: list[Any] = [env]
    while isinstance(layers[-1], gymnasium.Wrapper):
        layers.append(layers[-1].env)
    return layers


def _changing(layer: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in _MADE_ANEW and not isinstance(value, mujoco.MjModel)
    }
