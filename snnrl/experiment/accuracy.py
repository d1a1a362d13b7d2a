"""Evaluation of a classifier on the test split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snnrl.agents.base import SpikingAgent
from snnrl.data import Split
from snnrl.experiment.evaluation import Episode, EvaluationStopped

BATCH = 256
"""Examples of a forward pass."""

KEPT = 4096
"""Most inputs kept to measure activity on."""


class AccuracyEvaluator:
    """An evaluator whose one episode is a pass over the test split; its return is the accuracy in
    per cent, its length the number of examples.

    :param split: the examples
    """

    def __init__(self, split: Split):
        self.split = split

    def run(self, agent: SpikingAgent, stops: Callable[[], bool] = lambda: False) -> list[Episode]:
        """Classify every example.

        :param stops: called at every pass of the network; true abandons the evaluation
        :raises EvaluationStopped: it was abandoned; the agent is unchanged
        """
        inputs, labels = self.split
        right = 0
        for start in range(0, len(labels), BATCH):
            if stops():
                raise EvaluationStopped
            guesses, _ = agent.predict(inputs[start : start + BATCH], deterministic=True)
            right += int((guesses == labels[start : start + BATCH]).sum())
        return [Episode(0, 0, 100 * right / len(labels), len(labels), np.asarray(inputs[:KEPT]))]
