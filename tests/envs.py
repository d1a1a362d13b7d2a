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


class Match(gym.Env[np.ndarray, np.int64]):
    """Show a random observation and reward the choice of its largest number with 1.

    Observations are uniform in [-1, 1]; any fixed choice returns ``steps / choices`` on average,
    the best return is ``steps``.

    :param choices: numbers in the observation, and choices
    :param steps: length of an episode, which ends by truncation
    """

    def __init__(self, choices: int = 3, steps: int = 8):
        self.observation_space: spaces.Box = spaces.Box(-1, 1, (choices,), np.float32)
        self.action_space = spaces.Discrete(choices)
        self.steps = steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.right)
        self.time += 1
        return self._observe(), reward, False, self.time >= self.steps, {}

    def _observe(self) -> np.ndarray:
        choices = self.observation_space.shape
        self.observation = self.np_random.uniform(-1, 1, choices).astype(np.float32)
        self.right = int(self.observation.argmax())
        return self.observation


class MatchImage(Match):
    """Show 8 x 8 pixels of noise with one bright quarter, and reward the choice of that quarter.

    :param steps: length of an episode, which ends by truncation
    """

    def __init__(self, steps: int = 8):
        super().__init__(4, steps)
        self.observation_space = spaces.Box(0, 255, (1, 8, 8), np.uint8)

    def _observe(self) -> np.ndarray:
        self.right = int(self.np_random.integers(4))
        pixels = self.np_random.integers(0, 100, (1, 8, 8), np.uint8)
        row, column = divmod(self.right, 2)
        pixels[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 100
        self.observation = pixels
        return pixels
