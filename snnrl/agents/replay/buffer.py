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

from snnrl.agents.replay.on_device import OnDeviceTransitions, Places


class ReplayBuffer(buffers.ReplayBuffer):
    """Stable-Baselines3's buffer, storing float64 observations (MuJoCo's) as float32.

    This halves the memory and saves a conversion at every sample. The environment's space is
    unchanged, so ``load(env=...)`` accepts the environment. On CUDA, a copy of the transitions is
    kept on the device if it takes at most a quarter of the free memory there. Minibatches are then
    gathered from it, unless a ``VecNormalize`` must process them first. The draws do not depend on
    the device.

    :param replacement: sample minibatches with replacement, as SB3 does; without it, minibatches
        are smaller while the buffer holds fewer transitions
    """

    _on_device: OnDeviceTransitions | None = None
    _looked_for_room = False

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

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Add a transition of each environment; arguments as in Stable-Baselines3."""
        super().add(*args, **kwargs)
        if self._on_device is not None:
            self._on_device.count_added()

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Return a random minibatch."""
        if self.replacement:
            return super().sample(batch_size, env)
        return self._get_samples(self._rows(batch_size), env)

    def places(self, batch_size: int, env: VecNormalize | None = None) -> Places | None:
        """Return a random minibatch that a step gathers itself on the device, by the same draws.

        ``None``: nothing was drawn, and :meth:`sample` makes it, as the transitions are not on the
        device, an environment must process them, or a derived class samples in its own way.
        """
        own = (type(self).sample, type(self)._get_samples)
        if env is not None or own != (ReplayBuffer.sample, ReplayBuffer._get_samples):
            return None
        if self.optimize_memory_usage or (on_device := self._transitions_on_device()) is None:
            return None
        return on_device.places(self._index(self._rows(batch_size)))

    def _rows(self, batch_size: int) -> np.ndarray:
        if self.replacement:
            return np.random.randint(0, self.size(), size=batch_size)
        return np.array(random.sample(range(self.size()), min(batch_size, self.size())))

    def _index(self, rows: np.ndarray) -> np.ndarray:
        """Return ``row * n_envs + environment``, with an environment drawn for each row."""
        return rows * self.n_envs + np.random.randint(0, high=self.n_envs, size=(len(rows),))

    def _get_samples(
        self, batch_inds: np.ndarray, env: VecNormalize | None = None
    ) -> ReplayBufferSamples:
        if self.optimize_memory_usage:
            return super()._get_samples(batch_inds, env)
        index = self._index(batch_inds)
        if env is None and (on_device := self._transitions_on_device()) is not None:
            return on_device.gather(index)

        def take(array: np.ndarray) -> np.ndarray:
            return np.take(array.reshape(-1, *array.shape[2:]), index, axis=0)

        ends = take(self.dones) * (1 - take(self.timeouts))
        arrays = (
            np.asarray(self._normalize_obs(take(self.observations), env)),
            take(self.actions),
            np.asarray(self._normalize_obs(take(self.next_observations), env)),
            ends.reshape(-1, 1),
            self._normalize_reward(take(self.rewards).reshape(-1, 1), env),
        )
        return ReplayBufferSamples(*(self.to_torch(array, copy=False) for array in arrays))

    def _transitions_on_device(self) -> OnDeviceTransitions | None:
        if not self._looked_for_room:
            self._looked_for_room = True
            if self.device.type == "cuda" and OnDeviceTransitions.fit(self, self.device):
                self._on_device = OnDeviceTransitions(self, self.device)
        return self._on_device

    def __getstate__(self) -> dict[str, Any]:
        # The copy is made again after loading, on the device of that machine.
        return {**self.__dict__, "_on_device": None, "_looked_for_room": False}


def random_transitions(
    buffer: buffers.ReplayBuffer,
    batch_size: int,
    generator: np.random.Generator,
    env: VecNormalize | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return observations, actions and next observations, ``[batch_size, ...]`` each, drawn with
    replacement.

    ``buffer.sample`` draws from numpy's global generator. This function does not, so it does not
    change the minibatches of training.

    :param buffer: buffer of array observations
    :param generator: source of the random draws
    :param env: normalises the observations, if given
    :raises ValueError: the buffer is empty
    """
    rows = generator.integers(buffer.size(), size=batch_size)
    columns = generator.integers(buffer.n_envs, size=batch_size)
    if buffer.optimize_memory_usage:
        following = buffer.observations[(rows + 1) % buffer.buffer_size, columns]
    else:
        following = buffer.next_observations[rows, columns]
    observed = [
        np.asarray(buffer._normalize_obs(values, env), dtype=None if env else values.dtype)
        for values in (buffer.observations[rows, columns], following)
    ]
    arrays = (observed[0], buffer.actions[rows, columns], observed[1])
    drawn = [buffer.to_torch(each, copy=False) for each in arrays]
    return drawn[0], drawn[1], drawn[2]


def _single_precision(space: spaces.Space[Any]) -> spaces.Space[Any]:
    if isinstance(space, spaces.Box) and space.dtype == np.float64:
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return spaces.Box(low, high, space.shape, np.float32)
    return space
