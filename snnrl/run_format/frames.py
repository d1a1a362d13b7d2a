"""The csv files of a run as frames of numbers, read with checks for damage."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from snnrl.errors import UserError
from snnrl.run_format.bounds import MOST_STEPS
from snnrl.run_format.documents import read_text
from snnrl.run_format.status import Status
from snnrl.text import one_line


def read_frame(file: Path, columns: Sequence[str], status: Status) -> pd.DataFrame:
    """Return a csv file as a frame, with cells not yet converted.

    :param columns: required columns; it may have others
    :param status: of a run that is not over, a last line that is written in part does not count
    :raises UserError: it is half-written, or lacks a column
    """
    text = read_text(file)
    # Without its newline the last number may have lost digits and still look valid.
    whole, newline, _ = text.rpartition("\n")
    if status == "unfinished":
        text = whole + newline
        if not text.strip():
            return pd.DataFrame(columns=list(columns), dtype=float)
    if not text.strip():
        raise UserError(f"{file}: empty, expected the header {','.join(columns)}")
    if not text.endswith("\n"):
        raise UserError(f"{file}: half-written, its last line has no end")
    try:
        table = pd.read_csv(io.StringIO(text))
    except pd.errors.ParserError as error:
        raise UserError(f"{file}: expected CSV ({one_line(error)})") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(
            f"{file}: no column '{missing[0]}', expected the header {','.join(columns)}"
        )
    return table


def as_numbers(column: pd.Series) -> pd.Series:
    """Return a column as numbers, NaN for cells that are not numbers."""
    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:  # An integer of hundreds of digits.
        return pd.to_numeric(column.astype(str).where(column.astype(str).str.len() < 100), "coerce")


def check_steps(timesteps: pd.Series, file: Path) -> None:
    """Refuse values that are not counts of environment steps.

    :param file: named in the error
    :raises UserError: naming the line
    """
    values = timesteps.to_numpy(dtype=float)
    wrong = ~((values >= 0) & (values <= MOST_STEPS) & (values == np.floor(values)))
    if wrong.any():
        line = timesteps.index[wrong.argmax()] + 2
        raise UserError(f"{file}: line {line}: timesteps: expected a number of environment steps")
