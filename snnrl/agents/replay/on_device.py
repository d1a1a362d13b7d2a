"""A replay buffer's transitions on the device that learns from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

SHARE_OF_FREE_MEMORY = 0.25
"""Largest share of the device's free memory, when learning starts, for transitions."""


class Places(NamedTuple):
    """A minibatch that a step gathers itself.

    :param place: ``row * n_envs + environment`` of each transition, ``[B]``
    :param transitions: where they are
    """

    place: Tensor
    transitions: OnDeviceTransitions

    def gathered(self) -> ReplayBufferSamples:
        """Return the transitions, ``[B, ...]``."""
        return self.transitions.at(self.place)


class OnDeviceTransitions:
    """A copy of the transitions on a device, from which minibatches are gathered.

    The buffer's arrays remain the original and are what is saved. Rows added since the last
    minibatch are sent before the next one. Actions, ends and rewards are side by side in one tensor
    if they are of one type, so that one operator gathers them.

    :param buffer: buffer that stores next observations in a separate array
    :param device: where the copy is
    """

    def __init__(self, buffer: ReplayBuffer, device: torch.device):
        self._buffer = buffer
        self._device = device
        rows = buffer.buffer_size * buffer.n_envs
        # The first row exists from the start, with the shapes and dtypes of all rows.
        self._kept = [
            torch.empty((rows, *values.shape[1:]), dtype=values.dtype, device=device)
            for values in _packed(_fields(buffer, slice(0, 1)))
        ]
        self._unsent = buffer.size()

    @staticmethod
    def fit(buffer: ReplayBuffer, device: torch.device) -> bool:
        """Return whether a full buffer takes at most :data:`SHARE_OF_FREE_MEMORY`."""
        row = sum(values.nbytes for values in _fields(buffer, slice(0, 1)))
        free, _ = torch.cuda.mem_get_info(device)
        return row * buffer.buffer_size <= SHARE_OF_FREE_MEMORY * free

    def count_added(self) -> None:
        """Count a row that was added to the buffer."""
        self._unsent = min(self._unsent + 1, self._buffer.buffer_size)

    def gather(self, index: np.ndarray) -> ReplayBufferSamples:
        """Return transitions ``[len(index), ...]``.

        :param index: ``row * n_envs + environment``
        """
        self._send()
        return self.at(torch.from_numpy(index).to(self._device, non_blocking=True))

    def places(self, index: np.ndarray) -> Places:
        """Return a minibatch that a step gathers itself; its index is on the host.

        :param index: ``row * n_envs + environment``
        """
        self._send()
        place = torch.from_numpy(index)
        # Memory that is pinned is sent without waiting, and is not used again before it is sent.
        return Places(place.pin_memory() if self._device.type == "cuda" else place, self)

    def at(self, place: Tensor) -> ReplayBufferSamples:
        """Return transitions ``[B, ...]``.

        :param place: ``row * n_envs + environment``, ``[B]`` on the device
        """
        observations, following, *rest = (kept.index_select(0, place) for kept in self._kept)
        if len(rest) == 1:
            rest = list(rest[0].split([rest[0].shape[1] - 2, 1, 1], dim=1))
        actions, ends, rewards = rest
        return ReplayBufferSamples(observations, actions, following, ends, rewards)

    def _send(self) -> None:
        buffer, end = self._buffer, self._buffer.pos
        start = end - self._unsent
        if start < 0:
            self._send_rows(slice(start % buffer.buffer_size, buffer.buffer_size))
            start = 0
        if start < end:
            self._send_rows(slice(start, end))
        self._unsent = 0

    def _send_rows(self, rows: slice) -> None:
        n = self._buffer.n_envs
        sent = _packed(_fields(self._buffer, rows))
        for kept, values in zip(self._kept, sent, strict=True):
            kept[rows.start * n : rows.stop * n].copy_(values, non_blocking=True)


def _fields(buffer: ReplayBuffer, rows: slice) -> list[Tensor]:
    """Return observations, next observations, actions, ends and rewards, ``[rows * n_envs, ...]``
    each."""
    ends = buffer.dones[rows] * (1 - buffer.timeouts[rows])
    arrays = (
        buffer.observations[rows],
        buffer.next_observations[rows],
        buffer.actions[rows],
        ends[..., None],
        buffer.rewards[rows][..., None],
    )
    return [torch.from_numpy(array).flatten(0, 1) for array in arrays]


def _packed(fields: list[Tensor]) -> list[Tensor]:
    """Join actions, ends and rewards, ``[rows, A + 2]``, if they are of one type."""
    observations, following, *rest = fields
    one_type = len({values.dtype for values in rest}) == 1 and rest[0].dim() == 2
    return [observations, following, *([torch.cat(rest, dim=1)] if one_type else rest)]
