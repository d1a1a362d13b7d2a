"""Seconds left of a run, whose first steps are quick and whose others are slow."""

from __future__ import annotations

import time
from collections.abc import Callable

WORTH = 0.05
"""The estimate counts as much as having seen this share of the training steps."""


class TimeLeft:
    """From the estimate at the start and from what has been seen since.

    Random steps make no updates: their pace says nothing about the steps that train.

    :param total: environment steps in all
    :param random_steps: of these, steps before training begins
    :param start: steps done before
    :param estimate: seconds that the whole run was said to take; ``None`` if nobody knows
    :param clock: gives seconds
    """

    def __init__(
        self,
        total: int,
        random_steps: int = 0,
        start: int = 0,
        estimate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total = total
        self.random_steps = random_steps
        self.estimate = estimate
        self.clock = clock
        self.began = self.trains_since = (start, clock())
        self.acts_since: tuple[int, float] | None = None

    def at(self, step: int) -> float | None:
        """Seconds left at an environment step; ``None`` while nothing is known.

        :param step: no less than at the last call
        """
        now = self.clock()
        if step <= self.random_steps:
            self.trains_since = (step, now)
            return self._while_random(step, now)
        first, then = self.trains_since
        seen, took = step - first, now - then
        known, seconds = self._known_before()
        if seen + known == 0:
            return None
        return (took + seconds) / (seen + known) * max(self.total - step, 0)

    def _while_random(self, step: int, now: float) -> float | None:
        if self.estimate is None:
            return None
        start, then = self.began
        if self.acts_since is None and step > start:
            # The evaluation before the first step is none of its pace.
            self.acts_since = (step, now)
        first, since = self.acts_since or (step, now)
        pace = (now - since) / (step - first) if step > first else 0.0
        return max(self.estimate - (now - then), pace * (self.random_steps - step))

    def _known_before(self) -> tuple[float, float]:
        """Training steps that the estimate is worth, and the seconds that they take by it."""
        steps = self.total - self.trains_since[0]
        if self.estimate is None or steps <= 0:
            return 0.0, 0.0
        left = max(self.estimate - (self.trains_since[1] - self.began[1]), 0.0)
        return WORTH * steps, WORTH * left
