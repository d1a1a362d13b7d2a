"""Frames of events, and splits of our own, of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnrl.data.events import event_frames, split_by_class


def binned(rows: Any, frames: int = 2, size: int = 4, sensor: int = 8) -> np.ndarray:
    """Frames of rows of t, x, y and polarity."""
    t, x, y, on = np.array(rows).T
    return event_frames(t, x, y, on.astype(bool), frames=frames, size=size, sensor=sensor)


def test_by_hand() -> None:
    rows = [(100, 0, 0, 1), (101, 1, 1, 1), (104, 7, 2, 0), (105, 7, 3, 0), (109, 6, 3, 1)]
    expected = np.zeros((2, 2, 4, 4), np.uint8)
    expected[0, 1, 0, 0] = 2
    expected[0, 0, 1, 3] = 1  # 104 is in the first of the windows 100 to 104 and 105 to 109.
    expected[1, 0, 1, 3] = 1
    expected[1, 1, 1, 3] = 1
    found = binned(rows)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(binned(rows[::-1]), expected)


@pytest.mark.parametrize(("frames", "size"), [(1, 1), (5, 48), (7, 30), (3, 128)])
def test_by_a_loop(frames: int, size: int) -> None:
    generator = np.random.default_rng(0)
    high = [1_000_000, 128, 128, 2]
    rows = generator.integers(0, high, (400, 4))
    rows[:, 0] += 12_345
    expected = np.zeros((frames, 2, size, size), int)
    first, last = rows[:, 0].min(), rows[:, 0].max()
    for t, x, y, on in rows.tolist():
        window = int((t - first) * frames // (last - first + 1))
        expected[window, on, int(y * size / 128), int(x * size / 128)] += 1
    found = binned(rows, frames, size, sensor=128)
    np.testing.assert_array_equal(found, expected)
    assert found.sum() == 400


def test_counts_end_at_255() -> None:
    assert binned([(0, 0, 0, 1)] * 300, frames=1)[0, 1, 0, 0] == 255


def test_unsigned_numbers_do_not_wrap() -> None:
    """As a decoder gives them: ``128 * 128`` is no byte, nor is a time before the first."""
    t = np.array([7, 3, 5], np.uint64)
    x = np.array([127, 0, 64], np.uint8)
    on = np.array([True, True, True])
    found = event_frames(t, x, x, on, frames=1, size=128, sensor=128)
    assert [tuple(cell) for cell in np.argwhere(found)] == [
        (0, 1, 0, 0),
        (0, 1, 64, 64),
        (0, 1, 127, 127),
    ]


@pytest.mark.parametrize("row", [(0, 8, 0, 1), (0, 0, 8, 0), (0, -1, 0, 0)])
def test_an_event_outside_is_refused(row: Any) -> None:
    with pytest.raises(ValueError, match="an event outside of 8 x 8 pixels"):
        binned([(0, 0, 0, 0), row])


def test_a_recording_without_events_is_refused() -> None:
    with pytest.raises(ValueError, match="no events"):
        binned(np.zeros((0, 4), int))


def test_a_split_takes_its_share_of_every_class() -> None:
    labels = np.repeat(np.arange(4), [10, 20, 30, 44])
    train, test = split_by_class(labels, 0.1, seed=0)
    assert sorted([*train, *test]) == list(range(104))
    assert np.bincount(labels[test]).tolist() == [1, 2, 3, 4]
    # Classes are mixed: the first ones are not of one class.
    assert len(np.unique(labels[train][:20])) == 4


def test_a_split_is_fixed_by_its_seed() -> None:
    labels = np.repeat(np.arange(3), 40)
    first, again, other = (split_by_class(labels, 0.25, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert set(first[1]) != set(other[1])
