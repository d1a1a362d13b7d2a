"""Returns of the deterministic policy on environments of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import maybe_transpose

from snnrl.agents.base import SpikingAgent
from snnrl.errors import NonFiniteError

KEPT_OBSERVATIONS = 4096
"""At most so many observations of an episode are kept."""

KEPT_BYTES = 256 * 2**20
"""At most so many bytes of observations are kept, of all episodes together."""


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    :param index: its number within the evaluation
    :param total_reward: undiscounted return
    :param length: environment steps
    :param observations: what the policy saw, ``[n, ...]``: every step, or every k-th where those
        would be too many; normalised where the agent normalises, images channels first
    """

    index: int
    total_reward: float
    length: int
    observations: np.ndarray


class Evaluator:
    """Runs the same episodes at every call, side by side, so that one pass acts for all.

    With continuous actions, episode k starts where the k-th reset after ``reset(seed)`` leads, like
    the episodes that one environment, seeded once, would run one after the other. What is random
    after the start comes from a stream of each episode's own, so that episodes are independent
    samples. With discrete actions episode k starts from ``reset(seed + k)``: the start of a game is
    often the same, and all that differs is what its seed makes happen.

    :param envs: as many environments as episodes
    :param seed: seed of the first reset
    """

    def __init__(self, envs: Sequence[gymnasium.Env[Any, Any]], seed: int):
        self.envs = envs
        self.seed = seed
        self.discrete = isinstance(envs[0].action_space, spaces.Discrete)

    def seed_of(self, episode: int) -> int:
        """The seed that an episode's start follows from."""
        return self.seed + episode if self.discrete else self.seed

    def run(self, agent: SpikingAgent) -> list[Episode]:
        """Play every episode to its end.

        :raises NonFiniteError: an observation or a reward is NaN or infinite
        """
        first = [self._first_observation(k) for k in range(len(self.envs))]
        current = np.stack(first).astype(self.envs[0].observation_space.dtype)
        seen = [_Sample(_kept(first[0].nbytes, len(self.envs))) for _ in self.envs]
        rewards = np.zeros(len(self.envs))
        lengths = np.zeros(len(self.envs), dtype=int)
        _check_finite(current, rewards, agent.num_timesteps)
        running = np.ones(len(self.envs), dtype=bool)
        while running.any():
            # Finished episodes are kept in the batch: one batch size, one compiled form.
            shown = agent.normalize(maybe_transpose(current, agent.observation_space))
            actions, _ = agent.predict(shown, deterministic=True)
            for k in map(int, np.flatnonzero(running)):
                seen[k].add(shown[k])
                current[k], reward, terminated, truncated, _ = self.envs[k].step(actions[k])
                rewards[k] += float(reward)
                lengths[k] += 1
                running[k] = not (terminated or truncated)
            _check_finite(current, rewards, agent.num_timesteps)
        return [
            Episode(k, float(rewards[k]), int(lengths[k]), np.stack(seen[k].rows))
            for k in range(len(self.envs))
        ]

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()

    def _first_observation(self, episode: int) -> np.ndarray:
        env = self.envs[episode]
        observation, _ = env.reset(seed=self.seed_of(episode))
        if not self.discrete:
            for _ in range(episode):
                observation, _ = env.reset()
            env.unwrapped.np_random = np.random.default_rng([self.seed, episode])
        return np.asarray(observation)


class _Sample:
    """Evenly spread rows of a series whose length is not known: when there are too many, every
    second one is dropped, and from then on twice as many are left out between two.

    :param limit: rows that are kept at most
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.stride = 1
        self.seen = 0
        self.rows: list[np.ndarray] = []

    def add(self, row: np.ndarray) -> None:
        if self.seen % self.stride == 0:
            if len(self.rows) == self.limit:
                self.rows = self.rows[::2]
                self.stride *= 2
            if self.seen % self.stride == 0:
                self.rows.append(row.copy())
        self.seen += 1


def _kept(nbytes: int, episodes: int) -> int:
    """Observations of an episode that are kept, of so many bytes each."""
    return int(np.clip(KEPT_BYTES // (nbytes * episodes), 1, KEPT_OBSERVATIONS))


def _check_finite(observations: np.ndarray, rewards: np.ndarray, step: int) -> None:
    for name, values in (("observation", observations), ("reward", rewards)):
        if not np.isfinite(values).all():
            raise NonFiniteError(f"evaluation {name}", step)
