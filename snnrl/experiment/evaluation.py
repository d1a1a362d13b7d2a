"""Returns of the deterministic policy on environments of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor

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

    Episode k starts where the k-th reset after ``reset(seed)`` leads: the episodes that a single
    environment, seeded once, would run one after the other.

    :param envs: as many environments as episodes
    :param seed: seed of the first reset
    """

    def __init__(self, envs: list[gymnasium.Env[Any, Any]], seed: int):
        self.envs = [Monitor(env) for env in envs]
        self.seed = seed

    def run(self, agent: BaseAlgorithm) -> list[Episode]:
        """Play every episode to its end.

        :raises NonFiniteError: an observation or a reward is NaN or infinite
        """
        normaliser = agent.get_vec_normalize_env()
        current = np.stack([self._first_observation(k) for k in range(len(self.envs))])
        seen: list[list[np.ndarray]] = [[] for _ in self.envs]
        rewards = np.zeros(len(self.envs))
        running = np.ones(len(self.envs), dtype=bool)
        while running.any():
            shown = normaliser.normalize_obs(current) if normaliser else current
            assert isinstance(shown, np.ndarray)
            # Finished episodes are kept in the batch: one batch size, one compiled form.
            actions, _ = agent.predict(shown, deterministic=True)
            for k in np.flatnonzero(running):
                seen[k].append(shown[k].copy())
                current[k], reward, terminated, truncated, _ = self.envs[k].step(actions[k])
                rewards[k] += reward
                running[k] = not (terminated or truncated)
            if not (np.isfinite(rewards).all() and np.isfinite(current).all()):
                raise NonFiniteError("evaluation observation or reward", agent.num_timesteps)
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
            self.envs[episode].needs_reset = True
            observation, _ = self.envs[episode].reset()
        return np.asarray(observation)
