"""An environment of one's own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Reach(gym.Env[np.ndarray, np.ndarray]):
    """Go to a place on a line: the reward is minus the distance.

    :param reach: largest step
    """

    observation_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, reach: float = 0.2):
        self.reach = reach
        self.place = self.goal = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, size=2)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = float(np.clip(self.place + self.reach * action[0], -2, 2))
        return self._seen(), -abs(self.place - self.goal), False, False, {}

    def _seen(self) -> np.ndarray:
        return np.array([self.place, self.goal], dtype=np.float32)


gym.register("Reach-v0", Reach, max_episode_steps=30)
