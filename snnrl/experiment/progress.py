"""What a person sees while a run goes on."""

from __future__ import annotations

import re
import sys
from typing import Any

from tqdm import tqdm

from snnrl.experiment.time_left import TimeLeft

_EVALUATED = re.compile(r" *[\d,]+ of [\d,]+ steps: return .*")


class Progress:
    """A bar with steps, steps per second, time left and the last return; lines without a terminal.

    :param name: what runs
    :param total: steps in all
    :param start: steps done before
    :param left: what says how long the others will take
    """

    def __init__(self, name: str, total: int, start: int = 0, left: TimeLeft | None = None):
        self.name = name
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
        """Show a return."""
        if self.bar.disable:
            self.say(
                f"{timesteps:>9,} of {self.total:,} steps: return {mean:.1f} +- {deviation:.1f}"
            )
        else:
            self.bar.set_postfix_str(f"return {mean:.1f}", refresh=False)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def is_evaluation(line: str) -> bool:
    """Whether a line is one that :meth:`Progress.evaluated` writes."""
    return _EVALUATED.fullmatch(line) is not None


class _Bar(tqdm):  # type: ignore[misc]
    """A bar that knows the time left better than by the pace of the last steps.

    :param left: what says it
    """

    def __init__(self, left: TimeLeft, **options: Any):
        self.left = left
        super().__init__(**options)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What ``bar_format`` can name."""
        seconds = self.left.at(int(self.n))
        shown = "?" if seconds is None else self.format_interval(seconds)
        return {**super().format_dict, "left": shown}
