"""What a person sees while a run goes on."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """A bar with steps, steps per second, time left and the last return; lines without a terminal.

    :param name: what runs
    :param total: steps in all
    :param start: steps done before
    """

    def __init__(self, name: str, total: int, start: int = 0):
        self.name = name
        self.total = total
        self.bar = tqdm(
            total=total,
            initial=start,
            unit="step",
            desc=name if len(name) <= 40 else name[:37] + "...",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            smoothing=0.05,
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
