"""Environments small enough to learn in a test."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Follow(gym.Env[np.ndarray, np.ndarray]):
    """Show a random observation and reward the action that repeats it: ``-sum (a - o)^2``.

    Actions are in [-1, 1], observations are uniform there; always acting 0 returns
    ``-steps * actions / 3`` on average, the best return is 0.

    :param observations: size of the observation, at least ``actions``
    :param actions: size of the action; the first observations are to be repeated
    :param steps: length of an episode, which ends by truncation
    :param dtype: of the observation
    """

    def __init__(
        self,
        observations: int = 2,
        actions: int = 2,
        steps: int = 8,
        dtype: type[np.floating[Any]] = np.float32,
    ):
        self.observation_space = spaces.Box(-1, 1, (observations,), dtype)
        self.action_space = spaces.Box(-1, 1, (actions,), np.float32)
        self.steps = steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = -float(((action - self.observation[: len(action)]) ** 2).sum())
        self.time += 1
        return self._observe(), reward, False, self.time >= self.steps, {}

    def _observe(self) -> np.ndarray:
        shape, dtype = self.observation_space.shape, self.observation_space.dtype
        self.observation = self.np_random.uniform(-1, 1, shape).astype(dtype)
        return self.observation
