"""How the episodes of an evaluation start: the same ones every time, others for every seed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from snnrl.errors import UserError
from snnrl.seeds import SEEDINGS, child_seed

OFFSET = 100
"""What the published protocol adds to a run's seed for its evaluations."""


class EpisodeStarts:
    """Episode k starts from ``reset(seed)``, with a seed that is a child of the run's.

    All episodes are independent samples, those of other runs too.

    :param seed: the run's
    """

    def __init__(self, seed: int):
        self.seed = seed

    def begin(self, env: gymnasium.Env[Any, Any], episode: int) -> tuple[np.ndarray, int]:
        """Start the episode in a new environment.

        :return: the first observation, and the seed that it follows from
        """
        seed = child_seed(self.seed, "evaluation", episode)
        observation, _ = env.reset(seed=seed)
        return np.asarray(observation), seed


class AdditiveStarts(EpisodeStarts):
    """Episodes of runs that were made when seeds were sums (``seeding=additive``).

    With continuous actions episode k starts where the k-th reset after ``reset(seed + 100)`` leads,
    like the episodes that one environment, seeded once, would run one after the other; what is
    random after the start comes from a stream of its own. With discrete actions it starts from
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
            _give_generator(env.unwrapped, generator)
        return np.asarray(observation), seed


def _give_generator(env: gymnasium.Env[Any, Any], generator: np.random.Generator) -> None:
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
