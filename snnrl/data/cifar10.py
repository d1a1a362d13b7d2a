"""Colour images of 32 x 32 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnrl.data.fetch import from_folder, torchvision_sets
from snnrl.data.sets import DataSet, Split

FOLDER = "cifar-10-batches-py"


def load(root: str) -> DataSet:
    """Return CIFAR-10, of its batches in ``<root>/cifar-10-batches-py``, or fetched there.

    The batches are pickles, which torchvision reads once their MD5 sums are the published ones.
    Images are shown as they are, without augmentation.

    Source: Krizhevsky (2009): 50,000 images to learn from, 10,000 for testing.

    :param root: folder of data sets
    :raises UserError: torchvision is not installed, or the files are not there and cannot be
        fetched
    """
    sets = torchvision_sets("cifar10")

    def both(place: str, fetch: bool) -> list[Any]:
        return [sets.CIFAR10(place, train=train, download=fetch) for train in (True, False)]

    train, test = (
        Split(np.ascontiguousarray(each.data.transpose(0, 3, 1, 2)), np.array(each.targets))
        for each in from_folder(root, "cifar10", FOLDER, both)
    )
    return DataSet("cifar10", 10, train, test)
