"""Estimate of the seconds left of a run, whose first steps are faster than the rest."""

from __future__ import annotations

import time
from collections.abc import Callable

WORTH = 0.05
"""Weight of the initial estimate, as a share of the training steps."""


class TimeLeft:
    """Combine the estimate at the start with the pace seen since.

    Random steps make no updates: their pace does not predict that of training steps.

    :param total: total environment steps
    :param random_steps: of these, random steps before training begins
    :param start: steps done before the start
    :param estimate: estimated seconds of the whole run; ``None`` if unknown
    :param clock: returns seconds
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
        """Return the seconds left at an environment step; ``None`` while unknown.

        :param step: no less than at the last call
        """
        now = self.clock()
        if step <= self.random_steps:
            self.trains_since = (step, now)
            return self._left_of_random_steps(step, now)
        first, then = self.trains_since
        seen, took = step - first, now - then
        known, seconds = self._weighted_estimate()
        if seen + known == 0:
            return None
        return (took + seconds) / (seen + known) * max(self.total - step, 0)

    def _left_of_random_steps(self, step: int, now: float) -> float | None:
        if self.estimate is None:
            return None
        start, then = self.began
        if self.acts_since is None and step > start:
            # The evaluation before the first step says nothing about the pace.
            self.acts_since = (step, now)
        first, since = self.acts_since or (step, now)
        pace = (now - since) / (step - first) if step > first else 0.0
        return max(self.estimate - (now - then), pace * (self.random_steps - step))

    def _weighted_estimate(self) -> tuple[float, float]:
        """Return the training steps that the estimate counts for, and its seconds for them."""
        steps = self.total - self.trains_since[0]
        if self.estimate is None or steps <= 0:
            return 0.0, 0.0
        left = max(self.estimate - (self.trains_since[1] - self.began[1]), 0.0)
        return WORTH * steps, WORTH * left
