"""Returns of the deterministic policy on environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from snnrl.errors import NonFiniteError


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    :param index: its number within the evaluation
    :param total_reward: undiscounted return
    :param length: environment steps
    :param observations: what the policy saw, ``[length, ...]``
    """

    index: int
    total_reward: float
    length: int
    observations: np.ndarray


class Evaluator:
    """Runs the same episodes at every call, side by side, so that one pass acts for all.

    Episode k starts where the k-th reset after ``reset(seed)`` leads, like the episodes that one
    environment, seeded once, would run one after the other. What is random after the start comes
    from a stream of each episode's own, so that episodes are independent samples.

    :param envs: as many environments as episodes
    :param seed: seed of the first reset
    """

    def __init__(self, envs: Sequence[gymnasium.Env[Any, Any]], seed: int):
        self.envs = envs
        self.seed = seed

    def run(self, agent: BaseAlgorithm) -> list[Episode]:
        """Play every episode to its end.

        :raises NonFiniteError: an observation or a reward is NaN or infinite
        """
        first = [self._first_observation(k) for k in range(len(self.envs))]
        current = np.stack(first).astype(self.envs[0].observation_space.dtype)
        seen: list[list[np.ndarray]] = [[] for _ in self.envs]
        rewards = np.zeros(len(self.envs))
        _check_finite(current, rewards, agent.num_timesteps)
        running = np.ones(len(self.envs), dtype=bool)
        while running.any():
            # Finished episodes are kept in the batch: one batch size, one compiled form.
            actions, _ = agent.predict(current, deterministic=True)
            for k in map(int, np.flatnonzero(running)):
                seen[k].append(current[k].copy())
                current[k], reward, terminated, truncated, _ = self.envs[k].step(actions[k])
                rewards[k] += float(reward)
                running[k] = not (terminated or truncated)
            _check_finite(current, rewards, agent.num_timesteps)
        return [
            Episode(k, float(rewards[k]), len(seen[k]), np.stack(seen[k]))
            for k in range(len(self.envs))
        ]

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()

    def _first_observation(self, episode: int) -> np.ndarray:
        observation, _ = self.envs[episode].reset(seed=self.seed)
        for _ in range(episode):
            observation, _ = self.envs[episode].reset()
        self.envs[episode].unwrapped.np_random = np.random.default_rng([self.seed, episode])
        return np.asarray(observation)


def _check_finite(observations: np.ndarray, rewards: np.ndarray, step: int) -> None:
    for name, values in (("observation", observations), ("reward", rewards)):
        if not np.isfinite(values).all():
            raise NonFiniteError(f"evaluation {name}", step)
