"""The replay buffer in files: what comes back is what was there, and no row is written twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from snnrl.agents.replay.buffer import ReplayBuffer
from snnrl.experiment.checkpoint.replay_segments import (
    ARRAYS,
    Segment,
    load_rows,
    lost_segments,
    row_bytes,
    save_rows,
)

VECTOR = spaces.Box(-1, 1, (3,), np.float64)
IMAGE = spaces.Box(0, 255, (2, 4, 5), np.uint8)
FORCE = spaces.Box(-1, 1, (2,), np.float32)
MOVE = spaces.Discrete(3)
SIZE = 10


def make(observation: spaces.Space[Any], action: spaces.Space[Any], n_envs: int) -> ReplayBuffer:
    return ReplayBuffer(SIZE * n_envs, observation, action, device="cpu", n_envs=n_envs)


def add(buffer: ReplayBuffer, rows: int, generator: np.random.Generator) -> None:
    n = buffer.n_envs
    for _ in range(rows):
        images = buffer.observations.dtype == np.uint8
        shape = (2, n, *buffer.obs_shape)
        old, new = generator.integers(256, size=shape) if images else generator.normal(size=shape)
        action = generator.integers(3, size=(n, buffer.action_dim))
        dones = generator.integers(2, size=n)
        infos = [{"TimeLimit.truncated": bool(generator.integers(2))} for _ in range(n)]
        buffer.add(old, new, action, generator.normal(size=n), dones, infos)


def assert_same(ours: ReplayBuffer, theirs: ReplayBuffer) -> None:
    assert (ours.pos, ours.full) == (theirs.pos, theirs.full)
    for name in ARRAYS:
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other), name


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize(
    ("observation", "action", "n_envs"),
    [(VECTOR, FORCE, 1), (VECTOR, FORCE, 3), (IMAGE, MOVE, 1), (IMAGE, MOVE, 2)],
)
@pytest.mark.parametrize(
    "intervals",
    [
        [4, 4],
        [4, 4, 4, 4, 4, 4],  # over the end
        [5, 5, 5],  # exactly to it
        [0, 3, 0, 0],  # nothing new
        [25, 7],  # more than all at once
        [10, 10, 10],
        [1] * 23,
        [3, 40, 1],
    ],
)
def test_what_comes_back_is_what_was_there(
    intervals: list[int],
    observation: spaces.Space[Any],
    action: spaces.Space[Any],
    n_envs: int,
    tmp_path: Path,
) -> None:
    generator = np.random.default_rng(0)
    buffer = make(observation, action, n_envs)
    rows, segments = 0, list[Segment]()
    for interval in intervals:
        add(buffer, interval, generator)
        rows += interval
        segments = save_rows(tmp_path, buffer, rows, segments)
        loaded = make(observation, action, n_envs)
        load_rows(tmp_path, loaded, rows, segments)
        assert_same(loaded, buffer)


def test_rows_are_written_once_and_dropped_when_no_row_is_needed(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    buffer = make(VECTOR, FORCE, 1)
    segments: list[Segment] = []
    found = []
    for rows in (4, 8, 12, 16, 20):
        add(buffer, 4, generator)
        segments = save_rows(tmp_path, buffer, rows, segments)
        found.append([(segment.first, segment.last) for segment in segments])
        for segment in segments[:-1]:
            (tmp_path / segment.name).chmod(0o400)
    assert found == [
        [(0, 4)],
        [(0, 4), (4, 8)],
        [(0, 4), (4, 8), (8, 10), (10, 12)],
        [(4, 8), (8, 10), (10, 12), (12, 16)],
        [(10, 12), (12, 16), (16, 20)],
    ]
    read_only = {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o777 == 0o400}
    assert read_only == {path.name for path in tmp_path.iterdir()} - {"segment-16-20.npz"}


def test_rows_that_are_gone_are_not_looked_for(tmp_path: Path) -> None:
    """After more than the whole buffer, earlier segments have nothing that it holds."""
    generator = np.random.default_rng(0)
    buffer = make(VECTOR, FORCE, 1)
    add(buffer, 3, generator)
    earlier = save_rows(tmp_path, buffer, 3, [])
    add(buffer, 24, generator)
    segments = save_rows(tmp_path, buffer, 27, earlier)
    assert [(s.first, s.last) for s in segments] == [(17, 20), (20, 27)]


def test_bytes_of_a_row(tmp_path: Path) -> None:
    buffer = make(VECTOR, FORCE, 3)
    assert row_bytes(buffer) == 3 * (2 * 3 * 4 + 2 * 4 + 3 * 4)
    add(buffer, 8, np.random.default_rng(0))
    (segment,) = save_rows(tmp_path, buffer, 8, [])
    assert 0 < segment.checksum.size - 8 * row_bytes(buffer) < 2500


@pytest.mark.parametrize("intervals", [[4, 3], [4, 4, 4], [4, 4, 4, 4, 4], [10, 10, 3], [9, 9, 9]])
def test_segments_that_are_lost_are_written_again(intervals: list[int], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    buffer = make(VECTOR, FORCE, 1)
    rows, segments = 0, list[Segment]()
    for interval in intervals:
        add(buffer, interval, generator)
        rows += interval
        written = segments
        segments = save_rows(tmp_path, buffer, rows, written)
    for lost in written:
        if lost in segments:
            (tmp_path / lost.name).unlink()
    saved = save_rows(tmp_path, buffer, rows, written, written)
    assert [(s.first, s.last) for s in saved][-1] == (segments[-1].first, rows)
    loaded = make(VECTOR, FORCE, 1)
    load_rows(tmp_path, loaded, rows, saved)
    assert_same(loaded, buffer)


def test_which_segments_are_lost(tmp_path: Path) -> None:
    buffer = make(VECTOR, FORCE, 1)
    segments: list[Segment] = []
    for rows in range(1, 7):
        add(buffer, 1, np.random.default_rng(rows))
        segments = save_rows(tmp_path, buffer, rows, segments)
    now = max((tmp_path / s.name).stat().st_mtime_ns for s in segments)
    gone, cut, changed, replaced, touched, _ = (tmp_path / s.name for s in segments)
    assert lost_segments(tmp_path, segments, now) == lost_segments(tmp_path, segments, 0) == []
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    changed.write_bytes(b"x" + changed.read_bytes()[1:])
    replaced.unlink()
    replaced.mkdir()
    later = (now + 10**9, now + 10**9)
    os.utime(changed, ns=later)
    os.utime(touched, ns=later)
    assert lost_segments(tmp_path, segments, now) == segments[:4]
