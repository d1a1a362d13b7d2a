"""Data sets of labelled examples, in memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from snnrl.errors import UserError


class Split(NamedTuple):
    """Examples to learn from, or to test with.

    :param inputs: bytes: images ``[n, C, H, W]``, or frames ``[n, T, C, H, W]``
    :param labels: their classes ``[n]``, from 0
    """

    inputs: np.ndarray
    labels: np.ndarray

    def first(self, n: int) -> Split:
        """Return the first ``n`` examples."""
        return Split(self.inputs[:n], self.labels[:n])


class DataSet(NamedTuple):
    """A data set.

    :param name: of the choice
    :param classes: number of classes
    :param train, test: its examples
    """

    name: str
    classes: int
    train: Split
    test: Split

    @property
    def observation_space(self) -> spaces.Box:
        """Space of one input."""
        inputs = self.train.inputs
        return spaces.Box(0, 255, inputs.shape[1:], inputs.dtype.type)

    @property
    def action_space(self) -> spaces.Discrete:
        """Space of the classes."""
        return spaces.Discrete(self.classes)

    def check(self, where: str) -> None:
        """Check that it can be learned.

        :param where: where it comes from, for the error
        :raises UserError: a split without examples, or a label that is no class
        """
        for name, (inputs, labels) in (("training", self.train), ("test", self.test)):
            if len(inputs) == 0 or len(inputs) != len(labels):
                raise UserError(
                    f"{where}: its {name} split has {len(inputs)} inputs and {len(labels)} labels; "
                    "expected as many of both, at least one"
                )
            wrong = np.flatnonzero((labels < 0) | (labels >= self.classes))
            if len(wrong):
                raise UserError(
                    f"{where}: label {labels[wrong[0]]} of example {wrong[0]} of its {name} split; "
                    f"expected classes from 0 to {self.classes - 1}"
                )
