"""Replay in single precision."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common import buffers
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor


class ReplayBuffer(buffers.ReplayBuffer):
    """Stable-Baselines3's buffer, storing float64 observations (MuJoCo's) as float32.

    Half the memory and no conversion at every sample; the environment's space stays as it is, so
    that ``load(env=...)`` accepts the environment.

    :param replacement: whether a transition can be in a minibatch twice, as in SB3; without, a
        minibatch is smaller while the buffer is
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        *args: Any,
        replacement: bool = True,
        **kwargs: Any,
    ):
        super().__init__(buffer_size, _single_precision(observation_space), *args, **kwargs)
        self.replacement = replacement

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """A random minibatch."""
        if self.replacement:
            return super().sample(batch_size, env)
        rows = random.sample(range(self.size()), min(batch_size, self.size()))
        return self._get_samples(np.array(rows), env)


def random_transitions(
    buffer: buffers.ReplayBuffer,
    batch_size: int,
    generator: np.random.Generator,
    env: VecNormalize | None = None,
) -> tuple[Tensor, Tensor]:
    """Observations and actions, ``[batch_size, ...]`` each, drawn with replacement by a generator.

    ``buffer.sample`` draws from numpy's global generator; this leaves that one alone, so that
    reading the buffer on the side does not change which minibatches are learned from.

    :param buffer: buffer of array observations
    :param generator: what draws
    :param env: normalises the observations, if given
    :raises ValueError: the buffer is empty
    """
    rows = generator.integers(buffer.size(), size=batch_size)
    columns = generator.integers(buffer.n_envs, size=batch_size)
    normalised = buffer._normalize_obs(buffer.observations[rows, columns], env)
    observations = np.asarray(normalised, dtype=None if env else buffer.observations.dtype)
    actions = buffer.actions[rows, columns]
    return buffer.to_torch(observations, copy=False), buffer.to_torch(actions, copy=False)


def _single_precision(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return spaces.Box(low, high, space.shape, np.float32)
    return space
