"""Folder of a sweep: the outcome of each run, and the request to stop.

Launchers start runs in different ways, on this machine or others. All of them share this folder, so
that failures and signals reach the end of the sweep whichever launcher is used.
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
"""Outcomes that this process could not write to disk, by sweep and run."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    :param status: ``skipped`` was already done; ``interrupted`` resumes when run again
    :param overrides: command line of the run
    :param folder: its run folder
    :param reason: why it is not done; empty if done
    :param final_return: mean return of the last evaluation; None if not done
    """

    status: Status
    overrides: list[str]
    folder: str
    reason: str = ""
    final_return: float | None = None


class Sweep:
    """The files of one sweep.

    :param folder: folder of the files; runs on other machines see it at the same path
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def record(self, number: int, outcome: Outcome) -> None:
        """Write the outcome of run ``number``; the latest counts.

        If the disk is full, it is kept in memory for the lifetime of this process: later runs still
        start.
        """
        unwritten = _UNWRITTEN.setdefault(self.folder, {})
        unwritten.pop(number, None)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._file(number), json.dumps(asdict(outcome)).encode())
        except OSError:
            unwritten[number] = outcome

    def outcome(self, number: int) -> Outcome | None:
        """Return the outcome of a run; ``None`` if unknown."""
        if number in (unwritten := _UNWRITTEN.get(self.folder, {})):
            return unwritten[number]
        with suppress(OSError, ValueError, TypeError):  # An unreadable outcome counts as unknown.
            return Outcome(**json.loads(self._file(number).read_text()))
        return None

    def outcomes(self) -> list[Outcome]:
        """Return the known outcomes by run number."""
        numbers = {int(path.name.split(".")[0]) for path in self.folder.glob("*.outcome")}
        numbers |= _UNWRITTEN.get(self.folder, {}).keys()
        return [found for number in sorted(numbers) if (found := self.outcome(number))]

    def begin(self) -> None:
        """Delete the outcomes of an earlier sweep in the same folder."""
        _UNWRITTEN.pop(self.folder, None)
        for file in [self.folder / STOP, *self.folder.glob("*.outcome")]:
            file.unlink(missing_ok=True)

    def ask_to_stop(self, signal_number: int) -> None:
        """Ask all runs of the sweep to save and stop, and later ones not to start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / STOP, str(int(signal_number)).encode())

    def stop_asked(self) -> int | None:
        """Return the signal that asked the sweep to stop."""
        with suppress(OSError, ValueError):
            return int((self.folder / STOP).read_text())
        return None

    def log(self, number: int) -> Path:
        """Return the log file of a run that has no terminal."""
        return self.folder / f"{number}.log"

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.outcome"


def count(outcomes: Iterable[Outcome], total: int) -> str:
    """Return a count such as ``6 runs: 4 done, 1 skipped, 1 failed``.

    :param total: number of runs of the sweep; those without an outcome did not start
    """
    numbers = Counter[str](outcome.status for outcome in outcomes)
    numbers["not started"] = total - numbers.total()
    shown = [f"{numbers[name]} {name}" for name in (*STATUSES, "not started") if numbers[name] > 0]
    return f"{total} runs: {', '.join(shown)}"


def describe(outcomes: list[Outcome]) -> list[str]:
    """Return one line per unfinished run: its distinguishing settings, the reason and the
    folder."""
    lines = []
    names = distinguish([outcome.overrides for outcome in outcomes])
    for outcome, name in zip(outcomes, names, strict=True):
        if outcome.status in ("done", "skipped"):
            continue
        where = "" if outcome.folder in outcome.reason else f" ({outcome.folder})"
        lines.append(f"{outcome.status}: {name}: {outcome.reason}{where}")
    return lines


def distinguish(runs: Sequence[Sequence[str]]) -> list[str]:
    """Return the settings that distinguish each run of a sweep: ``bn=vanilla seed=1``.

    :param runs: command line of each run
    """
    shared = set[str].intersection(*map(set, runs)) if len(runs) > 1 else set[str]()
    return [" ".join([text for text in run if text not in shared] or run) for run in runs]
