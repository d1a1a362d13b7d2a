"""Race of contestants: build all, compare them with the reference, time those that agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

from scripts.bench.gate import Red, Tolerance, Trial, agree
from scripts.bench.options import Options
from scripts.bench.threads import on_its_threads
from scripts.bench.timing import Call, summarise, take_turns

REFERENCE, SAME, OTHER, UNCHECKED = "reference", "same", "other work", "not compared here"
RED, FAILED, ABSENT = "RED", "failed", "absent"
WRONG = (RED, FAILED)


@dataclass(frozen=True)
class Ready:
    """A contestant that is built.

    :param timed: label (``forward``) -> call to time
    :param outcome: computes the results that the gate compares, in a trial; ``None``: the
        contestant does other work and is timed only for scale
    :param per_call: number of steps in a call, by which its time is divided
    """

    timed: Mapping[str, Call]
    outcome: Trial | None = None
    per_call: int = 1


@dataclass(frozen=True)
class Contestant:
    """An implementation to compare and time.

    :param name: name in the tables
    :param prepare: function that builds it; an exception becomes its result
    :param absent: why it is left out, if it is
    """

    name: str
    prepare: Callable[[], Ready] | None = None
    absent: str = ""


@dataclass
class Row:
    """Result of one contestant.

    :param status: ``reference``, ``same``, ``other work``, ``not compared here``, ``RED``,
        ``failed`` or ``absent``
    :param detail: finding of the gate, or why there is no time
    :param seconds: seconds of one step, in each turn; empty without agreement
    :param figures: further columns
    """

    contestant: str
    status: str
    detail: str = ""
    seconds: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds."""
        return summarise(self.seconds).median


@dataclass
class Table:
    """Results of one label of a case.

    :param measure: one of :data:`scripts.bench.options.MEASURES`
    :param case: description of what was timed
    :param rows: results in the order of the contestants
    :param note: remark for the reader
    """

    measure: str
    case: str
    rows: list[Row]
    note: str = ""

    def row(self, contestant: str) -> Row | None:
        """Return the row of a contestant that was timed, or None."""
        return next((r for r in self.rows if r.contestant == contestant and r.seconds), None)


def race(
    measure: str,
    case: str,
    contestants: Sequence[Contestant],
    options: Options,
    tolerance: Tolerance | None = None,
    note: str = "",
) -> list[Table]:
    """Return a table for each label that is timed.

    The first contestant is the reference. Without it nothing can be compared, so nothing is timed.
    """
    rows, ready = judge(contestants, tolerance or Tolerance())
    labels = list(dict.fromkeys(label for built in ready.values() for label in built.timed))
    tables = []
    for label in labels:
        calls = {
            name: on_its_threads(name, options.threads, built.timed[label])
            for name, built in ready.items()
            if label in built.timed
        }
        seconds = take_turns(
            calls, options.rounds, options.block_seconds, synchronizer(options.device)
        )
        table = Table(measure, f"{case}: {label}" if label else case, [], note)
        for row in rows:
            mine = [s / ready[row.contestant].per_call for s in seconds.get(row.contestant, [])]
            table.rows.append(Row(row.contestant, row.status, row.detail, mine))
        tables.append(table)
    return tables or [Table(measure, case, rows, note)]


def judge(
    contestants: Sequence[Contestant], tolerance: Tolerance
) -> tuple[list[Row], dict[str, Ready]]:
    """Return the rows of all contestants, and those contestants that may be timed."""
    rows: list[Row] = []
    ready: dict[str, Ready] = {}
    reference: Trial | None = None
    for place, contestant in enumerate(contestants):
        row = Row(contestant.name, ABSENT, contestant.absent)
        rows.append(row)
        if contestant.prepare is None:
            continue
        try:
            built = contestant.prepare()
            if built.outcome is None:
                row.status = OTHER
            elif place == 0:
                row.status, reference = REFERENCE, cache(built.outcome)
                reference(0)
            elif reference is None:
                raise Red("there is no reference to compare with")
            else:
                row.status, row.detail = SAME, agree(built.outcome, reference, tolerance)
            for call in built.timed.values():
                call()
        except Red as difference:
            row.status, row.detail = RED, str(difference)
        except Exception as problem:  # the others run, whatever happens to this one
            row.status, row.detail = FAILED, first_line(problem)
            # Without the time of the reference no ratio has a meaning.
            reference = None if place == 0 else reference
        else:
            ready[contestant.name] = built
    return rows, ready if reference is not None else {}


def add_ratios(table: Table, published: str, floor: str) -> None:
    """Add the speed-up over the published loop, and the time in multiples of the floor."""
    slow, fast = table.row(published), table.row(floor)
    for row in table.rows:
        if row.seconds and slow is not None:
            row.figures["faster than published"] = slow.median / row.median
        if row.seconds and fast is not None:
            row.figures["times the floor"] = row.median / fast.median


def first_line(problem: BaseException) -> str:
    """Return the name and the first line of an error."""
    lines = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {lines[0]}"


def synchronizer(device: str) -> Callable[[], None]:
    """Return a function that waits for the device."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None
