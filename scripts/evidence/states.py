"""How far a run of the list is, by its run folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from scripts.evidence.plan import Planned
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import mean_returns
from snnrl.errors import UserError
from snnrl.experiment.sweep import Outcome

Kind = Literal["waiting", "running", "done", "failed"]

MEASURED_ROWS = 30
"""Rows of progress.csv, from the end, that the speed is measured over."""


class State(NamedTuple):
    """How far a run is.

    :param steps: environment steps so far
    :param last_return: of its last evaluation; None before the first
    :param hours: that are left at the speed of its last thousands of steps; None if not known
    :param reason: why it failed or was cut off; empty otherwise
    """

    kind: Kind
    steps: int = 0
    last_return: float | None = None
    hours: float | None = None
    reason: str = ""


def is_done(path: Path, steps: int) -> bool:
    """Whether the run in a folder has been trained for so many steps.

    A run that is being extended has no ``DONE``, but was done at the length before.
    """
    try:
        if (path / "DONE").exists():
            return int(json.loads((path / "DONE").read_text())["timesteps"]) >= steps
        run = load_run(path)
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return False
    return int(run.settings.get("total_steps", 0)) > steps and run.steps >= steps


def state_of(
    planned: Planned, running: Collection[Sequence[str]], outcome: Outcome | None
) -> State:
    """The state of one entry.

    :param running: command lines of the runs that the queue is at
    :param outcome: what came of it at the present start of the queue
    """
    entry, path = planned.entry, planned.path
    failed = outcome is not None and outcome.status == "failed"
    reason = outcome.reason if outcome is not None else ""
    kind: Kind = "running" if planned.overrides in running else "failed" if failed else "waiting"
    if not (path / "config.yaml").exists():
        return State(kind, reason=reason)
    if is_done(path, entry.steps):
        kind, reason = "done", ""
    try:
        run = load_run(path)
    except UserError as damage:
        return State(kind, reason=str(damage))
    extended = planned.extends is not None and not is_done(path, planned.extends.steps)
    if kind == "waiting" and run.status == "failed" and not extended:
        kind, reason = "failed", run.reason
    steps = min(entry.steps, _steps(run))
    curve = mean_returns(run.evaluations)
    curve = curve[curve.index <= entry.steps]
    return State(
        kind,
        steps,
        None if curve.empty else float(curve.iloc[-1]),
        0.0 if kind == "done" else _hours_left(run, entry.steps - steps),
        reason,
    )


def _steps(run: Run) -> int:
    return max(run.steps, 0 if run.clock.empty else int(run.clock.index[-1]))


def _hours_left(run: Run, steps: int) -> float | None:
    speed = seconds_per_step(run.clock, int(run.settings.get("algo.learning_starts", 0)))
    return None if speed is None else steps * speed / 3600


def seconds_per_step(clock: pd.Series, learning_starts: int) -> float | None:
    """Speed of a run while it learns, evaluations included; None before it can be told.

    :param clock: seconds by environment steps
    :param learning_starts: steps before it, which are random, are quick
    """
    rows = clock[clock.index >= learning_starts].iloc[-MEASURED_ROWS:]
    if len(rows) < 2:
        return None
    return float((rows.iloc[-1] - rows.iloc[0]) / (rows.index[-1] - rows.index[0]))
