"""Handwritten digits of 28 x 28 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnrl.data.fetch import from_folder, torchvision_sets
from snnrl.data.sets import DataSet, Split


def load(root: str) -> DataSet:
    """Return MNIST, of its idx files in ``<root>/MNIST/raw``, or fetched there.

    Source: LeCun et al. (1998): 60,000 images to learn from, 10,000 for testing.

    :param root: folder of data sets
    :raises UserError: torchvision is not installed, or the files are not there and cannot be
        fetched
    """
    sets = torchvision_sets("mnist")

    def both(place: str, fetch: bool) -> list[Any]:
        return [sets.MNIST(place, train=train, download=fetch) for train in (True, False)]

    train, test = (
        Split(each.data.numpy()[:, None], each.targets.numpy().astype(np.int64))
        for each in from_folder(root, "mnist", "MNIST", both)
    )
    return DataSet("mnist", 10, train, test)
