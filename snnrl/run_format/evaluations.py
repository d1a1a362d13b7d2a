"""``evaluations.csv``: one row per evaluation episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from snnrl.errors import UserError
from snnrl.run_format.bounds import LARGEST_NUMBER
from snnrl.run_format.done import read_done
from snnrl.run_format.frames import as_numbers, check_steps, read_frame
from snnrl.run_format.names import EVALUATIONS
from snnrl.run_format.status import Status

COLUMNS = ["timesteps", "episode", "seed", "return", "length"]


def no_evaluations() -> pd.DataFrame:
    """Return the frame of a run without evaluations."""
    return pd.DataFrame(columns=COLUMNS, dtype=float)


def read_evaluations(folder: Path, status: Status) -> pd.DataFrame:
    """Return the evaluation episodes; none if the run ended before its first evaluation.

    :param status: a run that is done must have evaluations, the last one at its end; of one that
        is running or was cut off, an evaluation that is written in part does not count
    :raises UserError: evaluations.csv is missing, half-written, or has other than finite numbers
    """
    file = folder / EVALUATIONS
    if not file.exists():
        if status == "done":
            raise UserError(f"{file}: not there, though the run is done")
        return no_evaluations()
    evaluations = read_frame(file, COLUMNS, status)
    if evaluations.empty:
        if status != "done":
            return evaluations
        raise UserError(f"{file}: no evaluation in it, expected one row per episode")
    numbers = evaluations[COLUMNS].apply(as_numbers)
    values = numbers.to_numpy(dtype=float)
    wrong = ~(np.isfinite(values).all(axis=1) & (np.abs(values) <= LARGEST_NUMBER).all(axis=1))
    if wrong.any():
        raise UserError(
            f"{file}: line {wrong.argmax() + 2}: expected five finite numbers, "
            f"of at most {LARGEST_NUMBER:.0e}"
        )
    check_steps(numbers["timesteps"], file)
    numbers = numbers.astype({"timesteps": "int64"})
    repeated = numbers.duplicated(["timesteps", "episode"])
    if repeated.any():
        raise UserError(
            f"{file}: line {repeated.argmax() + 2}: an episode that an earlier line has"
        )
    episodes = numbers.groupby("timesteps").size()
    last = episodes.index[-1]
    if status == "unfinished" and episodes[last] < episodes.max():
        numbers = numbers[numbers["timesteps"] < last]
        episodes = episodes.drop(last)
    if episodes.min() < episodes.max():
        raise UserError(
            f"{file}: half-written, the evaluation at step {episodes.idxmin()} has "
            f"{episodes.min()} of {episodes.max()} episodes"
        )
    if status == "done" and last != (end := read_done(folder).timesteps):
        raise UserError(
            f"{file}: damaged, its last evaluation is of step {last}, though the run is done at "
            f"step {end}; expected the missing rows restored"
        )
    return numbers


def read_evaluations_of_failed(folder: Path) -> pd.DataFrame:
    """Return :func:`read_evaluations`, or none if they cannot be read."""
    try:
        return read_evaluations(folder, "failed")
    except UserError:
        return no_evaluations()
