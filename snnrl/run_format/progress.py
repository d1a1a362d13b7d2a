"""``progress.csv``: one row each ``log_every`` steps, and the names of what is logged."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from snnrl.errors import UserError
from snnrl.run_format.bounds import LARGEST_NUMBER
from snnrl.run_format.frames import as_numbers, check_steps, read_frame
from snnrl.run_format.names import PROGRESS
from snnrl.run_format.status import Status

TIME_ELAPSED = "time/time_elapsed"
"""Seconds since the run's process started."""

RETURN, LENGTH = "evaluation/return", "evaluation/length"
"""Means over the episodes of an evaluation."""


def is_clock(column: str) -> bool:
    """Return whether a column is about time, which differs between runs that are the same."""
    return column.startswith("time/")


def is_of_evaluation(column: str) -> bool:
    """Return whether a column is what ``evaluations.csv`` has episode by episode."""
    return column.startswith("evaluation/")


def read_clock(folder: Path, status: Status) -> pd.Series:
    """Seconds of wall time by progress.csv, indexed by environment steps; empty if unknown.

    A resumed run's clock starts anew: where it falls back, what had passed before is added; the
    time between the last row and the interruption is not known.

    :raises UserError: progress.csv is half-written or has no steps
    """
    file = folder / PROGRESS
    if not file.exists():
        return pd.Series(dtype=float)
    table = read_frame(file, ["timesteps"], status)
    if TIME_ELAPSED not in table:
        return pd.Series(dtype=float)
    columns = table[["timesteps", TIME_ELAPSED]].apply(as_numbers).dropna()
    if not (columns[TIME_ELAPSED].abs() <= LARGEST_NUMBER).all():
        raise UserError(f"{file}: column '{TIME_ELAPSED}': expected finite numbers")
    check_steps(columns["timesteps"], file)
    return add_up_restarts(columns.groupby("timesteps")[TIME_ELAPSED].max())


def add_up_restarts(seconds: pd.Series) -> pd.Series:
    """Seconds since the first start, from seconds since the last one (by environment steps)."""
    before = seconds.shift()
    return seconds + before.where(seconds < before, 0.0).cumsum()
