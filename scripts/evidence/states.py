"""Progress of the runs of the list, read from their run folders."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from scripts.evidence.plan import Planned
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import mean_returns
from snnrl.errors import UserError
from snnrl.experiment.checkpoint.checksums import Damaged
from snnrl.experiment.checkpoint.manifest import numbered, read_manifest
from snnrl.experiment.config.choices import rollout_size
from snnrl.experiment.sweep.outcomes import Outcome
from snnrl.run_format import status
from snnrl.run_format.config import read_config
from snnrl.run_format.done import read_done
from snnrl.run_format.names import CHECKPOINT, CONFIG

Kind = Literal["waiting", "running", "done", "failed"]

MEASURED_ROWS = 30
"""Number of last rows of progress.csv over which the speed is measured."""


class State(NamedTuple):
    """Progress of a run.

    :param steps: environment steps so far
    :param last_return: return of the last evaluation; None before the first
    :param hours: hours left, at the speed of the last thousands of steps; None if unknown
    :param reason: why it failed or was interrupted; empty otherwise
    """

    kind: Kind
    steps: int = 0
    last_return: float | None = None
    hours: float | None = None
    reason: str = ""


def is_done(path: Path, steps: int) -> bool:
    """Return whether the run in a folder has been trained for so many steps.

    A run that is being extended has no ``DONE``. The evaluation at its earlier end is removed if
    none was due there. It still counts as done at that length, to which it never returns.
    """
    try:
        if status.is_done(path):
            return read_done(path).timesteps >= steps
        config = read_config(path)
        if int(config["total_steps"]) > steps:
            return True
        # Configurations of earlier versions have no number of environments, which was 1.
        config = OmegaConf.merge({"env": {"n_envs": 1}}, config)
        past = steps + rollout_size(config)
        return any(step >= past for step in _checkpoints(path / CHECKPOINT))
    except (UserError, OSError, ValueError, KeyError, TypeError, OmegaConfBaseException):
        return False


def _checkpoints(folder: Path) -> Iterator[int]:
    """Yield the steps of the readable checkpoints in a folder."""
    for save in numbered(folder).values():
        with suppress(Damaged, UserError):
            yield read_manifest(save).step


def state_of(
    planned: Planned, running: Collection[Sequence[str]], outcome: Outcome | None
) -> State:
    """Return the state of one entry.

    :param running: command lines of the runs in progress
    :param outcome: its outcome since the queue was last started; None if it has none
    """
    entry, path = planned.entry, planned.path
    failed = outcome is not None and outcome.status == "failed"
    reason = outcome.reason if outcome is not None else ""
    kind: Kind = "running" if planned.overrides in running else "failed" if failed else "waiting"
    if not (path / CONFIG).exists():
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
    steps = entry.steps if kind == "done" else min(entry.steps, _steps(run))
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
    """Return the seconds per step while a run learns, evaluations included.

    :param clock: seconds by environment steps
    :param learning_starts: number of random first steps, which are faster and left out
    :return: None if there are too few rows to tell
    """
    rows = clock[clock.index >= learning_starts].iloc[-MEASURED_ROWS:]
    if len(rows) < 2:
        return None
    return float((rows.iloc[-1] - rows.iloc[0]) / (rows.index[-1] - rows.index[0]))
