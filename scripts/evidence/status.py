"""Status of the queue, one line per run: steps, return, hours left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from scripts.evidence.lock import Lock, read_queue
from scripts.evidence.place import Place
from scripts.evidence.plan import make_plan, readable
from scripts.evidence.states import Kind, State, state_of
from scripts.evidence.work import RETRY
from snnrl.analysis.grids import align, number
from snnrl.experiment.sweep.outcomes import Sweep

HEADER = ["", "tag", "run", "steps", "of", "return", "hours left", "state"]


def status(place: Place) -> None:
    """Print the state of every run of the list.

    :raises UserError: a clone is missing, or the list cannot be read
    """
    print("\n".join(lines(place)))


def lines(place: Place) -> Iterator[str]:
    """Yield a table with one line per run, then a line with the number of runs in each state."""
    plan = make_plan(place, begin=False)
    queue = read_queue(place.queue) if Lock(place.queue).is_held() else None
    running = list((queue or {}).get("runs", {}).values())
    outcomes = {
        tuple(text for text in outcome.overrides if text != RETRY): outcome
        for outcome in Sweep(place.queue).outcomes()
    }
    found = [state_of(run, running, outcomes.get(tuple(run.overrides))) for run in plan.runs]
    rows = [
        [
            str(run.entry.number),
            run.entry.tag,
            run.name,
            f"{state.steps:,}",
            f"{run.entry.steps:,}",
            *_numbers(state),
        ]
        for run, state in zip(plan.runs, found, strict=True)
    ]
    table = align([HEADER[:-1], *rows], left=3).splitlines()
    states = [HEADER[-1], *(_words(place, state) for state in found)]
    yield from (f"{line}  {words}" for line, words in zip(table, states, strict=True))
    numbers = Counter(state.kind for state in found)
    counted = ", ".join(f"{numbers[kind]} {kind}" for kind in get_args(Kind) if numbers[kind])
    at_work = "no queue is running" if queue is None else f"queue: process {queue['pid']}"
    yield f"{len(found)} runs: {counted}; {at_work}"


def _numbers(state: State) -> list[str]:
    hours = "-" if state.hours is None or state.kind == "done" else f"{state.hours:.1f}"
    return ["-" if state.last_return is None else number(state.last_return), hours]


def _words(place: Place, state: State) -> str:
    return f"{state.kind}: {readable(place, state.reason)}" if state.reason else state.kind
