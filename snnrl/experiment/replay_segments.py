"""A replay buffer on disk, in files that are written once.

A row of the buffer holds a transition of each environment. Rows are counted from the start of
training: row ``r`` stands at place ``r % buffer_size`` of the buffer. A segment has the rows that
came between two checkpoints; a checkpoint writes what is new and shares the rest with the one
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.checksums import Checksum, checksum
from snnrl.experiment.durable import replacing

ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Segment(NamedTuple):
    """A file of rows ``[first, last)``, which are neighbours in the buffer too.

    :param first: count of its first row
    :param last: count of the row after its last
    :param checksum: of the file
    """

    first: int
    last: int
    checksum: Checksum

    @property
    def name(self) -> str:
        """The file's name."""
        return _name(self.first, self.last)


def replay_of(agent: SpikingAgent) -> ReplayBuffer:
    """The buffer of an agent that learns from replay."""
    buffer: Any = getattr(agent, "replay_buffer", None)
    assert isinstance(buffer, ReplayBuffer)
    return buffer


def rows_of(agent: SpikingAgent) -> int:
    """How many rows have come into the buffer: one with each step of the environments."""
    return agent.num_timesteps // agent.n_envs


def save_rows(
    folder: Path, buffer: ReplayBuffer, rows: int, earlier: Sequence[Segment]
) -> list[Segment]:
    """Write the rows that no segment has.

    :param folder: where segments are
    :param buffer: holds the last rows of all
    :param rows: how many rows have come since the start of training
    :param earlier: segments of the checkpoint before, oldest first, without gaps
    :raises OSError: a file cannot be written
    :return: the segments that have the buffer's rows, oldest first
    """
    assert buffer.pos == rows % buffer.buffer_size
    oldest = max(rows - buffer.buffer_size, 0)
    segments = [segment for segment in earlier if segment.last > oldest]
    written = segments[-1].last if segments else oldest
    for first, last in _neighbours(written, rows, buffer.buffer_size):
        path = folder / _name(first, last)
        place = _place(first, last, buffer.buffer_size)
        with replacing(path) as file:
            # Without an annotation, numpy's type takes the arrays for its own options.
            arrays: dict[str, np.ndarray] = {n: getattr(buffer, n)[place] for n in ARRAYS}
            np.savez(file, **arrays)  # type: ignore[arg-type]
        segments.append(Segment(first, last, checksum(path)))
    return segments


def load_rows(folder: Path, buffer: ReplayBuffer, rows: int, segments: Sequence[Segment]) -> None:
    """Fill a new buffer as :func:`save_rows` found it."""
    for segment in segments:
        # The oldest may have rows that are gone; newer segments take their places.
        place = _place(segment.first, segment.last, buffer.buffer_size)
        with (folder / segment.name).open("rb") as file, np.load(file) as saved:
            for name in ARRAYS:
                getattr(buffer, name)[place] = saved[name]
    buffer.pos, buffer.full = rows % buffer.buffer_size, rows >= buffer.buffer_size


def row_bytes(buffer: ReplayBuffer) -> int:
    """Bytes of one row in a segment, but for what each file adds (some 2 kB)."""
    return sum(getattr(buffer, name)[0].nbytes for name in ARRAYS)


def _name(first: int, last: int) -> str:
    return f"segment-{first}-{last}.npz"


def _neighbours(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Split rows ``[first, last)`` where the buffer starts again from its first place."""
    while first < last:
        end = min(last, (first // size + 1) * size)
        yield first, end
        first = end


def _place(first: int, last: int, size: int) -> slice:
    return slice(first % size, first % size + last - first)
