"""Environment with the published sizes of observations and actions, without a simulator."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Noise(gym.Env[np.ndarray, Any]):
    """Environment with random observations and rewards, whose episodes end by truncation.

    :param observations: size of an observation: normally distributed float64 (as in MuJoCo), or
        bytes if ``discrete`` (as in Atari RAM)
    :param actions: size of an action, or number of discrete actions
    :param discrete: whether actions are discrete
    """

    EPISODE = 100

    def __init__(self, observations: int, actions: int, discrete: bool):
        self.discrete = discrete
        if discrete:
            self.observation_space = spaces.Box(0, 255, (observations,), np.uint8)
            self.action_space: spaces.Space[Any] = spaces.Discrete(actions)
        else:
            self.observation_space = spaces.Box(-np.inf, np.inf, (observations,), np.float64)
            self.action_space = spaces.Box(-1, 1, (actions,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Return another observation, whatever the action."""
        self.time += 1
        reward = float(self.np_random.normal())
        return self._observe(), reward, False, self.time >= self.EPISODE, {}

    def _observe(self) -> np.ndarray:
        shape = self.observation_space.shape
        if self.discrete:
            return self.np_random.integers(0, 256, shape, dtype=np.uint8)
        return self.np_random.normal(size=shape)
