"""Evaluation of the deterministic policy on separate environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import maybe_transpose

from snnrl.errors import NonFiniteError
from snnrl.experiment.episode_starts import EpisodeStarts
from snnrl.seeds import child_seed, own_global_generators

KEPT_OBSERVATIONS = 4096
"""Most observations kept of an episode."""

KEPT_BYTES = 256 * 2**20
"""Most bytes of observations kept, of all episodes together."""


class Acts(Protocol):
    """What acts in an evaluation: an agent, or one whose actions depend on a state too."""

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Return the space of its observations."""

    @property
    def num_timesteps(self) -> int:
        """Return the environment steps that it has learned from."""

    def normalize(self, observations: np.ndarray) -> np.ndarray:
        """Return the observations as its policy sees them."""

    def predict(
        self, observation: Any, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[np.ndarray, Any]:
        """Return actions and the next state, as in Stable-Baselines3."""


class EvaluationStopped(Exception):
    """An evaluation abandoned because the run was asked to stop."""


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    :param index: its number within the evaluation
    :param seed: seed of its start
    :param total_reward: undiscounted return
    :param length: environment steps
    :param observations: as the policy saw them, ``[n, ...]``: every step, or every k-th if those
        are too many; normalised if the agent normalises, images channels first
    """

    index: int
    seed: int
    total_reward: float
    length: int
    observations: np.ndarray


class Evaluator:
    """Run the same episodes at every call, in parallel, so that one forward pass acts for all.

    Each call makes new environments, so that no state of an earlier evaluation (a wrapper's running
    mean, a counter) remains. The global generators, which an environment may use, are seeded alike
    each time; training's are untouched.

    :param make: makes an environment
    :param episodes: number of episodes, each in an environment of its own
    :param starts: how the episodes start
    :param max_steps: environment steps after which an episode is truncated; ``None`` leaves that to
        the environment
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env[Any, Any]],
        episodes: int,
        starts: EpisodeStarts,
        max_steps: int | None = None,
    ):
        self.make = make
        self.episodes = episodes
        self.starts = starts
        self.max_steps = max_steps

    def record(self, agent: Acts, steps: int) -> np.ndarray:
        """Return the observations of consecutive steps in one environment, ``[steps, ...]``.

        They are as the policy sees them. Where an episode ends, the next one starts.

        :raises NonFiniteError: an observation or a reward is NaN or infinite
        """
        seed = child_seed(self.starts.seed, "evaluation")
        with own_global_generators(seed), closing(self.make()) as env:
            current, _ = self.starts.begin(env, 0)
            dtype, length, reward = env.observation_space.dtype, 0, 0.0
            state, starts = None, np.ones(1, dtype=bool)
            seen = []
            while True:
                observations = current[None].astype(dtype)
                _check_finite(observations, np.array([reward]), agent.num_timesteps)
                shown = agent.normalize(maybe_transpose(observations, agent.observation_space))
                seen.append(shown[0].copy())
                if len(seen) == steps:
                    return np.stack(seen)
                actions, state = agent.predict(
                    shown, state=state, episode_start=starts, deterministic=True
                )
                step = env.step(actions[0])
                current, reward, length = np.asarray(step[0]), float(step[1]), length + 1
                ended = bool(step[2] or step[3]) or length == self.max_steps
                starts = np.array([ended])
                if ended:
                    current, length = np.asarray(env.reset()[0]), 0

    def run(
        self,
        agent: Acts,
        stops: Callable[[], bool] = lambda: False,
        sees: Callable[[np.ndarray], None] = lambda shown: None,
    ) -> list[Episode]:
        """Play every episode to its end.

        :param stops: called at every step; true abandons the evaluation
        :param sees: called at every step with the observations of all episodes as the policy sees
            them, ``[episodes, ...]``, also the last ones of those that have ended
        :raises NonFiniteError: an observation or a reward is NaN or infinite
        :raises EvaluationStopped: it was abandoned; the agent is unchanged
        """
        seed = child_seed(self.starts.seed, "evaluation")
        with own_global_generators(seed), ExitStack() as stack:
            envs = [stack.enter_context(closing(self.make())) for _ in range(self.episodes)]
            return self._play(agent, envs, stops, sees)

    def _play(
        self,
        agent: Acts,
        envs: Sequence[gymnasium.Env[Any, Any]],
        stops: Callable[[], bool],
        sees: Callable[[np.ndarray], None],
    ) -> list[Episode]:
        first, seeds = zip(*(self.starts.begin(env, k) for k, env in enumerate(envs)), strict=True)
        current = np.stack(first).astype(envs[0].observation_space.dtype)
        seen = [_Sample(_kept(first[0].nbytes, len(envs))) for _ in envs]
        rewards = np.zeros(len(envs))
        lengths = np.zeros(len(envs), dtype=int)
        _check_finite(current, rewards, agent.num_timesteps)
        running = np.ones(len(envs), dtype=bool)
        state, starts = None, np.ones(len(envs), dtype=bool)
        while running.any():
            if stops():
                raise EvaluationStopped
            # Finished episodes stay in the batch: with one batch size, one compiled version
            # suffices.
            shown = agent.normalize(maybe_transpose(current, agent.observation_space))
            sees(shown)
            actions, state = agent.predict(
                shown, state=state, episode_start=starts, deterministic=True
            )
            starts = np.zeros(len(envs), dtype=bool)
            for k in map(int, np.flatnonzero(running)):
                seen[k].add(shown[k])
                current[k], reward, terminated, truncated, _ = envs[k].step(actions[k])
                rewards[k] += float(reward)
                lengths[k] += 1
                running[k] = not (terminated or truncated or lengths[k] == self.max_steps)
            _check_finite(current, rewards, agent.num_timesteps)
        return [
            Episode(k, seeds[k], float(rewards[k]), int(lengths[k]), np.stack(seen[k].rows))
            for k in range(len(envs))
        ]


class _Sample:
    """Evenly spaced rows of a series of unknown length. When there are too many, every second one
    is dropped and the spacing doubles.

    :param limit: most rows kept
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
    """Return how many observations of an episode are kept, given the bytes of each."""
    return int(np.clip(KEPT_BYTES // (nbytes * episodes), 1, KEPT_OBSERVATIONS))


def _check_finite(observations: np.ndarray, rewards: np.ndarray, step: int) -> None:
    for name, values in (("observation", observations), ("reward", rewards)):
        if not np.isfinite(values).all():
            raise NonFiniteError(f"evaluation {name}", step)
