"""Handwritten digits of 8 x 8 pixels."""

from __future__ import annotations

import numpy as np

from snnrl.data.sets import DataSet, Split
from snnrl.errors import UserError

TEST = 360
"""Examples of the test split, the last ones. scikit-learn's have no split; this one is ours. Its
examples are ordered by writer, so most of the test's writers are unseen."""


def load() -> DataSet:
    """Return the digits that come with scikit-learn: 1,437 to learn from, 360 for testing.

    Source: the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak
    1998). Pixels are counts from 0 to 16, scaled here to bytes.

    :raises UserError: scikit-learn is not installed
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "data=digits: scikit-learn is not installed; pip install 'snnrl[classify]'"
        ) from None
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    train, test = Split(images[:-TEST], labels[:-TEST]), Split(images[-TEST:], labels[-TEST:])
    return DataSet("digits", 10, train, test)
