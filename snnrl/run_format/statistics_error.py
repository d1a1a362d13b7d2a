"""``statistics_error.csv``: one row per layer, evaluation, data and phase."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from snnrl.errors import UserError
from snnrl.run_format.bounds import LARGEST_NUMBER
from snnrl.run_format.frames import as_numbers, check_steps, read_frame
from snnrl.run_format.names import STATISTICS_ERROR
from snnrl.run_format.status import Status

MEASURES = ("mean_error", "variance_ratio", "wasserstein2")

COLUMNS = ["timesteps", "data", "phase", "layer", *MEASURES]


def read_statistics_error(folder: Path, status: Status) -> pd.DataFrame | None:
    """Return errors of the normalisation's statistics; None if the run has none.

    :raises UserError: statistics_error.csv is half-written or has other than numbers
    """
    file = folder / STATISTICS_ERROR
    if not file.exists():
        return None
    table = read_frame(file, COLUMNS, status)
    for column in ("timesteps", *MEASURES):
        if not pd.api.types.is_numeric_dtype(table[column]) and not table.empty:
            raise UserError(f"{file}: column '{column}': expected numbers only")
    if (as_numbers(table["mean_error"]).abs() > LARGEST_NUMBER).any():
        raise UserError(
            f"{file}: column 'mean_error': expected numbers of at most {LARGEST_NUMBER:.0e}"
        )
    check_steps(table["timesteps"], file)
    return table
