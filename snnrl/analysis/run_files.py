"""The files of a run folder, read with all that can be wrong with them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snnrl.analysis.documents import read_mapping, read_text
from snnrl.analysis.run_done import MOST_STEPS, read_done
from snnrl.analysis.runs import HARDWARE, Status, flatten
from snnrl.errors import UserError
from snnrl.text import LONGEST, one_line, shortened

EVALUATIONS = ["timesteps", "episode", "seed", "return", "length"]
"""Columns of evaluations.csv, one row an episode."""

STATISTICS_ERROR = [
    "timesteps",
    "data",
    "phase",
    "layer",
    "mean_error",
    "variance_ratio",
    "wasserstein2",
]
"""Columns of statistics_error.csv, one row a layer, evaluation, data and phase."""

LARGEST_NUMBER = 1e100
"""Returns and other numbers at most; squares of larger ones and their sums overflow."""

LONGEST_VALUE = 4096
"""Characters of a setting's value, such as a path, at most."""

FREE = ("env.kwargs", "env.wrappers")
"""Settings that only the environment knows, of any form and length."""

TIME_ELAPSED = "time/time_elapsed"
"""Column of progress.csv: seconds since the run's process started."""


def read_config(folder: Path) -> dict[str, Any]:
    """The resolved configuration, nested; see :func:`shown_config` for tables and pictures.

    :raises UserError: config.yaml is no YAML, no mapping, or holds what is no setting's value
    """
    file = folder / "config.yaml"
    config = read_mapping(file)
    check_lengths(config, file)
    return config


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration to be shown: long arguments of the environment are cut.

    A digest stands for what is cut, so that values that differ still do.
    """
    env = config.get("env")
    if not isinstance(env, Mapping):
        return dict(config)
    names = [key.removeprefix("env.") for key in FREE]
    cut = {name: _cut(env[name]) for name in names if name in env}
    return {**config, "env": {**env, **cut}}


def _cut(value: Any) -> Any:
    if isinstance(value, Mapping) and all(len(key) <= LONGEST for key in value):
        return {key: _cut(each) for key, each in value.items()}
    text = str(value)
    if len(text) <= LONGEST:
        return value
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{text[:40]}... ({len(text):,} characters, {digest})"


def check_lengths(config: Mapping[str, Any], source: object) -> None:
    """Refuse what is no setting's value, and would make tables and pictures without end.

    :raises UserError: naming the key
    """
    for key, value in flatten(config):
        if f"{key}.".startswith(tuple(f"{name}." for name in FREE)):
            continue
        if len(key) > LONGEST_VALUE or len(str(value)) > LONGEST_VALUE:
            raise UserError(
                f"{source}: {shortened(key, 60)} has {len(str(value)):,} characters; expected a "
                f"setting, of at most {LONGEST_VALUE:,}"
            )


def read_evaluations(folder: Path, status: Status) -> pd.DataFrame:
    """Evaluation episodes; none where the run ended before its first evaluation.

    :param status: a run that is done must have evaluations, the last one at its end; of one that
        is running or was cut off, an evaluation that is written in part does not count
    :raises UserError: evaluations.csv is missing, half-written, or has other than finite numbers
    """
    file = folder / "evaluations.csv"
    if not file.exists():
        if status == "done":
            raise UserError(f"{file}: not there, though the run is done")
        return pd.DataFrame(columns=EVALUATIONS, dtype=float)
    evaluations = _read_csv(file, EVALUATIONS, status)
    if evaluations.empty:
        if status != "done":
            return evaluations
        raise UserError(f"{file}: no evaluation in it, expected one row an episode")
    numbers = evaluations[EVALUATIONS].apply(_numeric)
    values = numbers.to_numpy(dtype=float)
    wrong = ~(np.isfinite(values).all(axis=1) & (np.abs(values) <= LARGEST_NUMBER).all(axis=1))
    if wrong.any():
        raise UserError(
            f"{file}: line {wrong.argmax() + 2}: expected five finite numbers, "
            f"of at most {LARGEST_NUMBER:.0e}"
        )
    _check_steps(numbers["timesteps"], file)
    numbers = numbers.astype({"timesteps": "int64"})
    repeated = numbers.duplicated(["timesteps", "episode"])
    if repeated.any():
        raise UserError(f"{file}: line {repeated.argmax() + 2}: an episode that was there before")
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
            f"step {end}; expected the missing rows back"
        )
    return numbers


def read_evaluations_of_failed(folder: Path) -> pd.DataFrame:
    """:func:`read_evaluations`, and none where they cannot be read."""
    try:
        return read_evaluations(folder, "failed")
    except UserError:
        return pd.DataFrame(columns=EVALUATIONS, dtype=float)


def read_clock(folder: Path, status: Status) -> pd.Series:
    """Seconds of wall time by progress.csv, indexed by environment steps; empty if unknown.

    A resumed run's clock starts anew: where it falls back, what had passed before is added; the
    time between the last row and the interruption is not known.

    :raises UserError: progress.csv is half-written or has no steps
    """
    file = folder / "progress.csv"
    if not file.exists():
        return pd.Series(dtype=float)
    table = _read_csv(file, ["timesteps"], status)
    if TIME_ELAPSED not in table:
        return pd.Series(dtype=float)
    columns = table[["timesteps", TIME_ELAPSED]].apply(_numeric).dropna()
    if not (columns[TIME_ELAPSED].abs() <= LARGEST_NUMBER).all():
        raise UserError(f"{file}: column '{TIME_ELAPSED}': expected finite numbers")
    _check_steps(columns["timesteps"], file)
    return add_up_restarts(columns.groupby("timesteps")[TIME_ELAPSED].max())


def add_up_restarts(seconds: pd.Series) -> pd.Series:
    """Seconds since the first start, from seconds since the last one (by environment steps)."""
    before = seconds.shift()
    return seconds + before.where(seconds < before, 0.0).cumsum()


def read_statistics_error(folder: Path, status: Status) -> pd.DataFrame | None:
    """Errors of the normalisation's statistics; None where the run has none.

    :raises UserError: statistics_error.csv is half-written or has other than numbers
    """
    file = folder / "statistics_error.csv"
    if not file.exists():
        return None
    table = _read_csv(file, STATISTICS_ERROR, status)
    for column in ("timesteps", "mean_error", "variance_ratio", "wasserstein2"):
        if not pd.api.types.is_numeric_dtype(table[column]) and not table.empty:
            raise UserError(f"{file}: column '{column}': expected numbers only")
    if (_numeric(table["mean_error"]).abs() > LARGEST_NUMBER).any():
        raise UserError(
            f"{file}: column 'mean_error': expected numbers of at most {LARGEST_NUMBER:.0e}"
        )
    _check_steps(table["timesteps"], file)
    return table


def read_provenance(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Versions and hardware by provenance.json; of a run that was resumed elsewhere, all of them.

    :raises UserError: provenance.json is not of the expected form
    """
    file = folder / "provenance.json"
    if not file.exists():
        return {}, {}
    provenance = read_mapping(file)
    earlier = provenance.get("resumed_from", [])
    if not (isinstance(earlier, list) and all(isinstance(record, dict) for record in earlier)):
        raise UserError(f"{file}: expected a mapping, with a list of such in 'resumed_from'")
    records = [*earlier, provenance]
    versions, hardware = [], []
    for record in records:
        for name in ("versions", "hardware"):
            if not isinstance(record.get(name, {}), dict):
                raise UserError(f"{file}: expected a mapping with a mapping '{name}'")
        kernel = {"kernel": record["kernel"]} if "kernel" in record else {}
        versions.append({**record.get("versions", {}), **_code(record), **kernel})
        found = record.get("hardware", {})
        hardware.append({name: found[name] for name in HARDWARE if name in found})
    return _together(versions), _together(hardware)


def _numeric(column: pd.Series) -> pd.Series:
    """Return a column as numbers, NaN for cells that are none."""
    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:  # an integer of hundreds of digits
        return pd.to_numeric(column.astype(str).where(column.astype(str).str.len() < 100), "coerce")


def _check_steps(timesteps: pd.Series, file: Path) -> None:
    """Refuse what is no count of environment steps.

    :raises UserError: naming the line
    """
    values = timesteps.to_numpy(dtype=float)
    wrong = ~((values >= 0) & (values <= MOST_STEPS) & (values == np.floor(values)))
    if wrong.any():
        line = timesteps.index[wrong.argmax()] + 2
        raise UserError(f"{file}: line {line}: timesteps: expected a number of environment steps")


def _code(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The git revision, with a digest of what was not committed."""
    git = provenance.get("git")
    if not isinstance(git, dict) or not git.get("revision"):
        return {}
    changes = {key: git[key] for key in ("diff", "untracked") if git.get(key)}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    return {"code": str(git["revision"])[:8] + (f" with changes {digest}" if changes else "")}


def _together(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """One value a name; of a run that was resumed elsewhere, all of them in their order."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(shortened(name), {})[shortened(value)] = None
    return {name: " then ".join(found) for name, found in values.items()}


def _read_csv(file: Path, columns: list[str], status: Status) -> pd.DataFrame:
    text = read_text(file)
    # Without its newline the last number may have lost digits and still look like a number.
    whole, newline, _ = text.rpartition("\n")
    if status == "unfinished":
        text = whole + newline
        if not text.strip():
            return pd.DataFrame(columns=columns, dtype=float)
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
