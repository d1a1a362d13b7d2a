"""A sweep's own folder: what came of each of its runs, and whether it was asked to stop.

Every launcher starts runs in its own way, on this machine or others; what they all share is this
folder, so that failures and signals reach the end of the sweep whoever ran what.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from snnrl.run_format.durable import replace_file

Status = Literal["done", "skipped", "interrupted", "failed"]

STATUSES: tuple[Status, ...] = ("done", "skipped", "interrupted", "failed")
STOP = "STOP"

_UNWRITTEN: dict[Path, dict[int, Outcome]] = {}
"""Outcomes that this process could not write, by sweep and run."""


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    :param status: ``skipped`` was done before; ``interrupted`` goes on when it is run again
    :param overrides: its command line
    :param folder: its run folder
    :param reason: why it is not done; empty if it is
    :param final_return: mean return of its last evaluation; None if it is not done
    """

    status: Status
    overrides: list[str]
    folder: str
    reason: str = ""
    final_return: float | None = None


class Sweep:
    """The files of one sweep.

    :param folder: where they are; runs on other machines see it there too
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def record(self, number: int, outcome: Outcome) -> None:
        """Write down what came of run ``number``; the latest holds.

        On a full disk it is remembered as long as this process lives: the runs to come go on.
        """
        unwritten = _UNWRITTEN.setdefault(self.folder, {})
        unwritten.pop(number, None)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._file(number), json.dumps(asdict(outcome)).encode())
        except OSError:
            unwritten[number] = outcome

    def outcome(self, number: int) -> Outcome | None:
        """What came of a run; ``None`` if that is not known, or not yet."""
        if number in (unwritten := _UNWRITTEN.get(self.folder, {})):
            return unwritten[number]
        with suppress(OSError, ValueError, TypeError):  # what cannot be read is not known
            return Outcome(**json.loads(self._file(number).read_text()))
        return None

    def outcomes(self) -> list[Outcome]:
        """What is known so far, by the numbers of the runs."""
        numbers = {int(path.name.split(".")[0]) for path in self.folder.glob("*.outcome")}
        numbers |= _UNWRITTEN.get(self.folder, {}).keys()
        return [found for number in sorted(numbers) if (found := self.outcome(number))]

    def begin(self) -> None:
        """Forget what an earlier sweep in the same folder came to."""
        _UNWRITTEN.pop(self.folder, None)
        for file in [self.folder / STOP, *self.folder.glob("*.outcome")]:
            file.unlink(missing_ok=True)

    def ask_to_stop(self, signal_number: int) -> None:
        """Ask all runs of the sweep to save themselves and stop, and those to come not to begin."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / STOP, str(int(signal_number)).encode())

    def stop_asked(self) -> int | None:
        """The signal that asked the sweep to stop."""
        with suppress(OSError, ValueError):
            return int((self.folder / STOP).read_text())
        return None

    def log(self, number: int) -> Path:
        """Where a run writes what it would have shown, if it does not run in a terminal."""
        return self.folder / f"{number}.log"

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.outcome"


def count(outcomes: Iterable[Outcome], total: int) -> str:
    """``6 runs: 4 done, 1 skipped, 1 failed``.

    :param total: how many runs the sweep has; those that nothing is known of did not begin
    """
    numbers = Counter[str](outcome.status for outcome in outcomes)
    numbers["not begun"] = total - numbers.total()
    shown = [f"{numbers[name]} {name}" for name in (*STATUSES, "not begun") if numbers[name] > 0]
    return f"{total} runs: {', '.join(shown)}"


def describe(outcomes: list[Outcome]) -> list[str]:
    """One line for each run that is not done: what distinguishes it, why, and where it is."""
    lines = []
    names = distinguish([outcome.overrides for outcome in outcomes])
    for outcome, name in zip(outcomes, names, strict=True):
        if outcome.status in ("done", "skipped"):
            continue
        where = "" if outcome.folder in outcome.reason else f" ({outcome.folder})"
        lines.append(f"{outcome.status}: {name}: {outcome.reason}{where}")
    return lines


def distinguish(runs: Sequence[Sequence[str]]) -> list[str]:
    """What tells each run of a sweep from the others: ``bn=vanilla seed=1``.

    :param runs: the command line of each
    """
    shared = set[str].intersection(*map(set, runs)) if len(runs) > 1 else set[str]()
    return [" ".join([text for text in run if text not in shared] or run) for run in runs]
