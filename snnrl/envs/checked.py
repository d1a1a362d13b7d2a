"""Checks that an environment conforms to its spaces: deviations are refused, not broadcast."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from snnrl.envs.blame import place_of_method
from snnrl.errors import UserError


class Checked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Check shapes and dtypes of everything that passes between an environment and its user.

    Training and evaluation copy values into arrays of the space's shape and dtype, which repeats a
    scalar, and truncates fractions if the dtype is integer. Values are not compared with the
    space's bounds: many environments exceed theirs.

    :param env: the environment
    :param env_id: id of the environment in errors
    """

    def __init__(self, env: gymnasium.Env[Any, Any], env_id: str):
        super().__init__(env)
        self.env_id = env_id

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and check its observation.

        :raises UserError: its observation does not fit its space, or is returned without an info
            dictionary
        """
        result = self.env.reset(seed=seed, options=options)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._returns("reset", result, "(observation, info)")
        observation, info = result
        self._check_observation(observation, "reset")
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment and check the action and the results.

        :raises UserError: the action or the observation does not fit its space, the reward is no
            number, an end of the episode is no truth value, or there are not five values
        """
        space = self.action_space
        if isinstance(space, spaces.Box | spaces.Discrete) and np.shape(action) != space.shape:
            raise UserError(
                f"env.id={self.env_id}: received an action of shape {np.shape(action)}; expected "
                f"{space.shape}"
            )
        result = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 5:
            five = "(observation, reward, terminated, truncated, info)"
            raise self._returns("step", result, five)
        observation, reward, terminated, truncated, info = result
        self._check_observation(observation, "step")
        self._check_scalar("reward", reward, "biuf")
        self._check_scalar("terminated", terminated, "biu")
        self._check_scalar("truncated", truncated, "biu")
        return observation, reward, terminated, truncated, info

    def _returns(self, method: str, result: Any, expected: str) -> UserError:
        kind = type(result).__name__
        found = f"{len(result)} values" if isinstance(result, tuple) else f"one {kind}"
        return self._refusal(method, f"returns {found}; expected {expected}")

    def _refusal(self, method: str, words: str) -> UserError:
        where = place_of_method(self.env, method)
        return UserError(
            f"env.id={self.env_id}: {method}() {words}{f' ({where})' if where else ''}"
        )

    def _check_observation(self, observation: Any, method: str) -> None:
        space = self.observation_space
        if not isinstance(space, spaces.Box):
            return
        shape, dtype = np.shape(observation), space.dtype
        found = observation.dtype if isinstance(observation, np.ndarray) else None
        if shape == space.shape and found == dtype:
            return
        values = np.asarray(observation)
        if shape != space.shape or not _fits(values, np.dtype(dtype)):
            raise self._refusal(
                method,
                f"observes {_described(values)}; expected shape {space.shape} of {dtype}, as its "
                "observation_space says",
            )

    def _check_scalar(self, name: str, value: Any, kinds: str) -> None:
        if isinstance(value, bool | np.bool_) or (name == "reward" and isinstance(value, float)):
            return
        values = np.asarray(value)
        if values.shape != () or values.dtype.kind not in kinds:
            wanted = "one number" if name == "reward" else "True or False"
            raise self._refusal("step", f"gives {_described(values)} as {name}; expected {wanted}")


def _fits(values: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Return whether values convert to the dtype unchanged, except for rounding of floats."""
    if values.dtype.kind in "iu" and dtype.kind in "iu":
        return np.array_equal(values.astype(dtype), values)
    return np.can_cast(values.dtype, dtype, "same_kind")


def _described(values: np.ndarray) -> str:
    return f"shape {values.shape} of {values.dtype}"
