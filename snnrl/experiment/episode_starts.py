"""Starts of evaluation episodes: the same at each evaluation, different for each seed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from snnrl.errors import UserError
from snnrl.seeds import SEEDINGS, child_seed

OFFSET = 100
"""Offset that the published protocol adds to a run's seed for its evaluations."""


class EpisodeStarts:
    """Start episode k with ``reset(seed)``, where the seed is a child of the run's seed.

    All episodes are independent samples, also across runs.

    :param seed: seed of the run
    """

    def __init__(self, seed: int):
        self.seed = seed

    def begin(self, env: gymnasium.Env[Any, Any], episode: int) -> tuple[np.ndarray, int]:
        """Start the episode in a new environment.

        :return: the first observation and the seed of the start
        """
        seed = child_seed(self.seed, "evaluation", episode)
        observation, _ = env.reset(seed=seed)
        return np.asarray(observation), seed


class AdditiveStarts(EpisodeStarts):
    """Starts for runs made when seeds were sums (``seeding=additive``).

    With continuous actions, episode k starts where the k-th reset after ``reset(seed + 100)``
    leads, like consecutive episodes of one environment that was seeded once. Randomness after the
    start comes from a separate stream. With discrete actions, it starts from
    ``reset(seed + 100 + k)``, so that runs of neighbouring seeds share episodes.
    """

    def begin(self, env: gymnasium.Env[Any, Any], episode: int) -> tuple[np.ndarray, int]:
        """Start the episode in a new environment.

        :raises UserError: its generator cannot be replaced
        """
        discrete = isinstance(env.action_space, spaces.Discrete)
        seed = self.seed + OFFSET + (episode if discrete else 0)
        observation, _ = env.reset(seed=seed)
        if not discrete:
            for _ in range(episode):
                observation, _ = env.reset()
            generator = SEEDINGS["additive"].stream(seed, "evaluation", episode)
            _set_generator(env.unwrapped, generator)
        return np.asarray(observation), seed


def _set_generator(env: gymnasium.Env[Any, Any], generator: np.random.Generator) -> None:
    own = env.np_random
    wanted = "expected seeding=independent, or a numpy.random.Generator there"
    if not isinstance(own, np.random.Generator):
        raise UserError(
            f"seeding=additive: np_random of {type(env).__name__} is a {type(own).__name__}; "
            f"{wanted}"
        )
    try:
        env.np_random = generator
    except AttributeError:
        raise UserError(
            f"seeding=additive: np_random of {type(env).__name__} cannot be set; {wanted} that can"
        ) from None
