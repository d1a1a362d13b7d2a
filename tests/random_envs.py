"""Environments whose randomness, or memory, stands where gymnasium does not look.

Their ids are ``tests.random_envs:<name>-v0``.
"""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from tests.envs import Follow


class Careless(Follow):
    """``Follow`` with observations from the three global generators, and its own at a reset."""

    def __init__(self) -> None:
        super().__init__(observations=4)

    def _observe(self) -> np.ndarray:
        drawn = [np.random.uniform(-1, 1), random.uniform(-1, 1), 2 * torch.rand(()).item() - 1]
        own = self.np_random.uniform(-1, 1)
        self.observation = np.array([*drawn, own], np.float32)
        return self.observation


class Tiring(Follow):
    """``Follow`` that pays less with each episode of its life, as a wrapper that keeps a running
    mean in an evaluation environment does."""

    episodes = 0

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        self.episodes += 1
        return super().reset(**options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - self.episodes, terminated, truncated, info


class Luck(gym.Env[np.ndarray, np.int64]):
    """One step, and a reward from N(0, 1) whatever one does."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, continuous: bool = False) -> None:
        self.action_space: spaces.Space[Any] = spaces.Discrete(2)
        if continuous:
            self.action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), float(self.np_random.normal()), True, False, {}


for env in (Careless, Tiring):
    gym.register(f"{env.__name__}-v0", entry_point=f"tests.random_envs:{env.__name__}")
