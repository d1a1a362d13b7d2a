"""Progress shown to the user during a run."""

from __future__ import annotations

import re
import sys
from typing import Any

from tqdm import tqdm

from snnrl.experiment.time_left import TimeLeft

_EVALUATED = re.compile(r" *[\d,]+ of [\d,]+ steps: (return|accuracy) .*")


class Progress:
    """Progress bar with steps, steps per second, time left and the last return; plain lines if
    there is no terminal.

    :param name: name of the run
    :param total: total steps
    :param start: steps done before the start
    :param left: estimates the time of the remaining steps
    :param measure: what evaluations measure
    """

    def __init__(
        self,
        name: str,
        total: int,
        start: int = 0,
        left: TimeLeft | None = None,
        measure: str = "return",
    ):
        self.name = name
        self.measure = measure
        self.total = total
        self.bar = _Bar(
            left=left or TimeLeft(total, start=start),
            total=total,
            initial=start,
            unit="step",
            desc=name if len(name) <= 40 else name[:37] + "...",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0.05,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]",
        )

    def step_to(self, timesteps: int) -> None:
        """Move the bar."""
        self.bar.update(timesteps - self.bar.n)

    def evaluated(self, timesteps: int, mean: float, deviation: float) -> None:
        """Show the mean of an evaluation."""
        if self.bar.disable:
            self.say(
                f"{timesteps:>9,} of {self.total:,} steps: {self.measure} {mean:.1f} "
                f"+- {deviation:.1f}"
            )
        else:
            self.bar.set_postfix_str(f"{self.measure} {mean:.1f}", refresh=False)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Close the bar and leave it on the screen."""
        self.bar.close()


def is_evaluation(line: str) -> bool:
    """Return whether :meth:`Progress.evaluated` wrote a line."""
    return _EVALUATED.fullmatch(line) is not None


class _Bar(tqdm):  # type: ignore[misc]
    """Progress bar with a better estimate of the time left than the pace of the last steps.

    :param left: gives the estimate
    """

    def __init__(self, left: TimeLeft, **options: Any):
        self.left = left
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """Return the values available to ``bar_format``."""
        seconds = self.left.at(int(self.n))
        shown = "?" if seconds is None else self.format_interval(seconds)
        return {**super().format_dict, "left": shown}
