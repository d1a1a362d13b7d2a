"""Replay buffer on disk, in files that are written once.

A row of the buffer holds one transition per environment. Rows are counted from the start of
training: row ``r`` is at position ``r % buffer_size`` of the buffer. A segment holds the rows added
between two checkpoints; a checkpoint writes the new ones and shares the rest with the previous one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.checkpoint.checksums import Checksum, Damaged, check, checksum
from snnrl.run_format.durable import replacing

ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class Segment(NamedTuple):
    """File of rows ``[first, last)``, which are contiguous in the buffer too.

    :param first: number of its first row
    :param last: number of the row after its last
    :param checksum: checksum of the file
    """

    first: int
    last: int
    checksum: Checksum

    @property
    def name(self) -> str:
        """Return the name of the file."""
        return _name(self.first, self.last)


def replay_of(agent: SpikingAgent) -> ReplayBuffer:
    """Return the replay buffer of an off-policy agent."""
    buffer: Any = getattr(agent, "replay_buffer", None)
    assert isinstance(buffer, ReplayBuffer)
    return buffer


def rows_of(agent: SpikingAgent) -> int:
    """Return the number of rows added to the buffer: one per step of the environments."""
    return agent.num_timesteps // agent.n_envs


def save_rows(
    folder: Path,
    buffer: ReplayBuffer,
    rows: int,
    earlier: Sequence[Segment],
    lost: Collection[Segment] = (),
) -> list[Segment]:
    """Write the rows that no segment holds.

    :param folder: folder of the segments
    :param buffer: buffer, which holds the latest rows
    :param rows: number of rows since the start of training
    :param earlier: segments of the previous checkpoint, oldest first, without gaps
    :param lost: those of them to be written again: :func:`lost_segments`
    :raises OSError: a file cannot be written
    :return: the segments that hold the buffer's rows, oldest first
    """
    assert buffer.pos == rows % buffer.buffer_size
    oldest = max(rows - buffer.buffer_size, 0)
    needed = [segment for segment in earlier if segment.last > oldest]
    segments = [
        # Rows no longer in the buffer are lost, and not needed.
        _write(folder, buffer, max(segment.first, oldest), segment.last)
        if segment in lost
        else segment
        for segment in needed
    ]
    written = segments[-1].last if segments else oldest
    for first, last in _contiguous(written, rows, buffer.buffer_size):
        segments.append(_write(folder, buffer, first, last))
    return segments


def lost_segments(folder: Path, segments: Sequence[Segment], written: int) -> list[Segment]:
    """Return the segments that are missing or have changed since they were written.

    A file not modified since then is not read: a replay buffer takes gigabytes.

    :param folder: folder of the segments
    :param written: time at which all had been written, in nanoseconds by the clock of the disk
    """
    return [segment for segment in segments if not _is_intact(folder, segment, written)]


def load_rows(folder: Path, buffer: ReplayBuffer, rows: int, segments: Sequence[Segment]) -> None:
    """Fill a new buffer with the rows that :func:`save_rows` wrote."""
    for segment in segments:
        # The oldest may hold overwritten rows; newer segments replace them.
        place = _place(segment.first, segment.last, buffer.buffer_size)
        with (folder / segment.name).open("rb") as file, np.load(file) as saved:
            for name in ARRAYS:
                getattr(buffer, name)[place] = saved[name]
    buffer.pos, buffer.full = rows % buffer.buffer_size, rows >= buffer.buffer_size


def row_bytes(buffer: ReplayBuffer) -> int:
    """Return the bytes of one row in a segment, without the overhead of each file (some 2 kB)."""
    return sum(getattr(buffer, name)[0].nbytes for name in ARRAYS)


def _write(folder: Path, buffer: ReplayBuffer, first: int, last: int) -> Segment:
    path = folder / _name(first, last)
    place = _place(first, last, buffer.buffer_size)
    with replacing(path) as file:
        # Without an annotation, numpy's stubs take the arrays for options.
        arrays: dict[str, np.ndarray] = {n: getattr(buffer, n)[place] for n in ARRAYS}
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return Segment(first, last, checksum(path))


def _is_intact(folder: Path, segment: Segment, written: int) -> bool:
    path = folder / segment.name
    try:
        found = path.stat()
        if found.st_mtime_ns > written:
            check(path, segment.checksum)
    except (OSError, Damaged):
        return False
    return found.st_size == segment.checksum.size


def _name(first: int, last: int) -> str:
    return f"segment-{first}-{last}.npz"


def _contiguous(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Split rows ``[first, last)`` where the buffer wraps around."""
    while first < last:
        end = min(last, (first // size + 1) * size)
        yield first, end
        first = end


def _place(first: int, last: int, size: int) -> slice:
    return slice(first % size, first % size + last - first)
