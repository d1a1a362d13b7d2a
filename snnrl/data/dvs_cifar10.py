"""Recordings of CIFAR-10's images by an event camera."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from snnrl.data.events import event_frames, split_by_class
from snnrl.data.fetch import from_folder
from snnrl.data.sets import DataSet, Split
from snnrl.errors import UserError
from snnrl.text import one_line

FOLDER = "CIFAR10DVS"
SENSOR = 128
TEST = 0.1
SPLIT_SEED = 20170513
"""The set has no official split. This one is ours, the same for every run."""


def load(root: str, frames: int, size: int) -> DataSet:
    """Return DVS-CIFAR10 as frames of events, of the recordings ``<class>/*.aedat4`` in
    ``<root>/CIFAR10DVS``, or fetched there.

    Frames are those of :func:`snnrl.data.events.event_frames`, the split is that of
    :func:`snnrl.data.events.split_by_class`; both are ours. All recordings are read at once.

    Source: Li et al. (2017): 1,000 recordings for each of ten classes, by 128 x 128 pixels.

    :param root: folder of data sets
    :param frames: number of frames T
    :param size: cells on each side of a frame
    :raises UserError: tonic is not installed, the files are not there and cannot be fetched, or one
        is damaged or of no class
    """
    tonic_sets, read = _tonic()

    def files(place: str, fetch: bool) -> list[Path]:
        if fetch:
            tonic_sets.CIFAR10DVS(place)
        found = sorted((Path(place) / FOLDER).rglob("*.aedat4"))
        if not found:
            raise FileNotFoundError("no .aedat4 files")
        return found

    recordings = from_folder(root, "dvs_cifar10", FOLDER, files)
    classes = tonic_sets.CIFAR10DVS.classes
    for file in recordings:
        if file.parent.name not in classes:
            raise UserError(
                f"data.root={root}: dvs_cifar10: label {file.parent.name}, the folder of {file}; "
                f"expected one of {', '.join(classes)}"
            )
    labels = np.array([classes[file.parent.name] for file in recordings])
    inputs = np.zeros((len(recordings), frames, 2, size, size), np.uint8)
    for place, file in zip(inputs, recordings, strict=True):
        try:
            events = read(str(file))
            # tonic's names of the fields, whatever those of the decoder are.
            t, x, y, polarity = (events[name] for name in events.dtype.names)
            place[:] = event_frames(t, x, y, polarity, frames=frames, size=size, sensor=SENSOR)
        except Exception as problem:
            raise UserError(
                f"data.root={root}: dvs_cifar10: {file} cannot be read ({one_line(problem)}); "
                "expected a recording of events in AEDAT 4"
            ) from None
    train, test = (Split(inputs[n], labels[n]) for n in split_by_class(labels, TEST, SPLIT_SEED))
    return DataSet("dvs_cifar10", len(classes), train, test)


def _tonic() -> tuple[Any, Any]:
    """Return tonic's module of data sets, and its reader of recordings.

    :raises UserError: tonic, or the decoder that it reads with, cannot be imported
    """
    try:
        import_module("aedat")
        return import_module("tonic.datasets"), import_module("tonic.io").read_aedat4
    except (ImportError, RuntimeError, OSError) as problem:
        raise UserError(
            f"data=dvs_cifar10: tonic cannot be imported ({one_line(problem)}); pip install "
            "'snnrl[events]'"
        ) from None
