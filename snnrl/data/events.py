"""Frames of event streams, and splits of sets that have none."""

from __future__ import annotations

import numpy as np

from snnrl.seeds import stream


def event_frames(
    t: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    polarity: np.ndarray,
    *,
    frames: int,
    size: int,
    sensor: int,
) -> np.ndarray:
    """Return numbers of events: bytes ``[T, 2, size, size]``, the channels decreases and increases.

    The time from the first to the last event is cut into T equal windows. Pixel x of the sensor is
    part of cell ``floor(x size / sensor)`` of a frame, so where the division leaves a remainder
    some cells collect from a pixel more than others. Counts above 255 become 255.

    :param t: times of the events ``[n]``, in any unit and order
    :param x, y: their pixels ``[n]``, from 0
    :param polarity: whether brightness increased ``[n]``
    :param frames: number of frames T
    :param size: cells on each side of a frame
    :param sensor: pixels on each side of the sensor
    :raises ValueError: no events, or one outside the sensor
    """
    if len(t) == 0:
        raise ValueError("no events")
    t, x, y = (each.astype(np.int64) for each in (t, x, y))
    if min(x.min(), y.min()) < 0 or max(x.max(), y.max()) >= sensor:
        raise ValueError(f"an event outside of {sensor} x {sensor} pixels")
    since = t - t.min()
    window = since * frames // (since.max() + 1)
    shape = (frames, 2, size, size)
    channel = polarity.astype(np.int64)
    cells = np.ravel_multi_index((window, channel, y * size // sensor, x * size // sensor), shape)
    counts = np.bincount(cells, minlength=np.prod(shape)).reshape(shape)
    return np.minimum(counts, 255).astype(np.uint8)


def split_by_class(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the training and of the test examples, each in an order of its own.

    Every class gives the same share of its examples to the test split, rounded. Classes are mixed
    in both orders, so the first examples of a split are examples of all classes.

    :param labels: classes of the examples ``[n]``
    :param share: of the test split
    :param seed: decides which, and the orders
    """
    generator = stream(seed, "split")
    train, test = [], []
    for label in np.unique(labels):
        drawn = generator.permutation(np.flatnonzero(labels == label))
        n = round(share * len(drawn))
        test.append(drawn[:n])
        train.append(drawn[n:])
    parts = [np.concatenate(part) if part else np.zeros(0, np.int64) for part in (train, test)]
    return generator.permutation(parts[0]), generator.permutation(parts[1])
