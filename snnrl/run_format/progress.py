"""``progress.csv``: one row every ``log_every`` steps, and the names of the logged values."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from snnrl.errors import UserError
from snnrl.run_format.bounds import LARGEST_NUMBER
from snnrl.run_format.frames import as_numbers, check_steps, read_frame
from snnrl.run_format.names import PROGRESS
from snnrl.run_format.status import Status

TIME_ELAPSED = "time/time_elapsed"
"""Columns of the seconds since the run's process started."""

RETURN, LENGTH = "evaluation/return", "evaluation/length"
"""Columns of means over the episodes of an evaluation."""


FIRING_RATE = "firing_rate/"
"""Start of the columns of mean firing rates, in front of the layer's name."""


def is_clock(column: str) -> bool:
    """Return whether a column measures time, which differs between identical runs."""
    return column.startswith("time/")


def is_of_evaluation(column: str) -> bool:
    """Return whether a column summarises values that ``evaluations.csv`` has for each episode."""
    return column.startswith("evaluation/")


def read_clock(folder: Path, status: Status) -> pd.Series:
    """Return seconds of wall time from progress.csv, indexed by environment steps; empty if
    unknown.

    A resumed run's clock starts again at zero: where it falls back, the time before is added. The
    time between the last row and the interruption is unknown.

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


def read_firing_rates(folder: Path, status: Status) -> pd.DataFrame:
    """Return mean firing rates from progress.csv, indexed by environment steps, a column for each
    layer and encoder; empty if there are none.

    :raises UserError: progress.csv is half-written or has no steps
    """
    file = folder / PROGRESS
    if not file.exists():
        return pd.DataFrame()
    table = read_frame(file, ["timesteps"], status).apply(as_numbers)
    check_steps(table["timesteps"], file)
    rates = table.set_index("timesteps").filter(regex=f"^{FIRING_RATE}")
    return rates.rename(columns=lambda name: name.removeprefix(FIRING_RATE)).dropna(how="all")


def add_up_restarts(seconds: pd.Series) -> pd.Series:
    """Return seconds since the first start, given those since the last one (by environment
    steps)."""
    before = seconds.shift()
    return seconds + before.where(seconds < before, 0.0).cumsum()
