"""Run folders, read."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from snnrl.errors import UserError, nearest

NOT_SETTINGS = (
    "seed",
    "total_steps",
    "tracking",
    "checkpoint",
    "results_dir",
    "device",
    "log_every",
)
"""Keys that do not change what is learned: runs that differ in them alone are one setting."""

CAME_LATER = {
    "env.observation": "default",
    "env.n_envs": 1,
    "conv.name": "none",
    "actor.readout": "auto",
}
"""Settings that earlier runs have no value of, and what those had."""

Status = Literal["done", "failed", "unfinished"]

EVALUATIONS = ["timesteps", "episode", "seed", "return", "length"]
STATISTICS_ERROR = [
    "timesteps",
    "data",
    "phase",
    "layer",
    "mean_error",
    "variance_ratio",
    "wasserstein2",
]


@dataclass(frozen=True, eq=False)
class Run:
    """One training run, as its folder tells it.

    :param config: the resolved configuration, nested
    :param evaluations: one row an evaluation episode, columns ``timesteps`` (environment steps),
        ``episode``, ``seed``, ``return``, ``length`` (steps); empty only for a run that failed
        or was cut off before its first evaluation
    :param status: ``unfinished`` is still running or was cut off
    """

    path: Path
    config: dict[str, Any]
    evaluations: pd.DataFrame
    status: Status

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration with dotted keys: ``{"algo.batch_size": 256, ...}``."""
        return {**CAME_LATER, **dict(_flatten(self.config))}

    def setting(self, key: str) -> Any:
        """The value at a dotted key.

        :raises UserError: the run has no such key
        """
        if key not in self.settings:
            raise UserError(
                f"{self.path / 'config.yaml'}: no key '{key}'{nearest(key, self.settings)}"
            )
        return self.settings[key]

    @property
    def environment(self) -> str:
        """The gymnasium id."""
        return str(self.setting("env.id"))

    @property
    def seed(self) -> int:
        return int(self.setting("seed"))

    @property
    def has_result(self) -> bool:
        """Whether the run enters means: it was evaluated and did not fail."""
        return self.status != "failed" and not self.evaluations.empty

    @cached_property
    def statistics_error(self) -> pd.DataFrame | None:
        """``statistics_error.csv``: one row a layer, evaluation, data and phase; None if absent.

        :raises UserError: the file is there and cannot be read
        """
        file = self.path / "statistics_error.csv"
        if not file.exists():
            return None
        table = _read_csv(file, STATISTICS_ERROR)
        for column in ("timesteps", "mean_error", "variance_ratio", "wasserstein2"):
            if not pd.api.types.is_numeric_dtype(table[column]) and not table.empty:
                raise UserError(f"{file}: column '{column}': expected numbers only")
        return table

    @cached_property
    def versions(self) -> dict[str, str]:
        """Package versions, and the kernel, by ``provenance.json``; empty where there is none.

        :raises UserError: the file is there and cannot be read
        """
        file = self.path / "provenance.json"
        if not file.exists():
            return {}
        try:
            provenance = json.loads(file.read_text())
        except ValueError as error:
            raise UserError(f"{file}: expected JSON ({error})") from None
        versions = provenance.get("versions", {}) if isinstance(provenance, dict) else None
        if not isinstance(versions, dict):
            raise UserError(f"{file}: expected a mapping with a mapping 'versions'")
        kernel = {"kernel": provenance["kernel"]} if "kernel" in provenance else {}
        return {str(name): str(version) for name, version in {**versions, **kernel}.items()}


def load_run(folder: str | Path) -> Run:
    """Read one run folder.

    :raises UserError: the folder does not exist, is not a run's, or holds a file that is empty,
        half-written or not of the expected form
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{_nearest_folder(folder)}")
    if not _is_run(folder):
        raise UserError(
            f"{folder}: not a run folder, expected config.yaml and evaluations.csv in it"
        )
    status = _status(folder)
    return Run(folder, _read_config(folder), _read_evaluations(folder, status), status)


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """All runs at or below the given folders; a path may be a shell-style pattern.

    :return: each run once, ordered by folder name
    :raises UserError: a path that leads to no run, or a run that cannot be read
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        for root in _expand(path):
            found = [file.parent for file in root.rglob("config.yaml") if _is_run(file.parent)]
            if not found:
                raise UserError(
                    f"{root}: no run in or below it, expected folders with config.yaml and "
                    "evaluations.csv"
                )
            folders.update({folder.resolve(): folder for folder in found})
    return [load_run(folders[key]) for key in sorted(folders)]


def _is_run(folder: Path) -> bool:
    # A run that ended before its first evaluation is a run, and must not be overlooked.
    marks = ("evaluations.csv", "provenance.json", "FAILED")
    return (folder / "config.yaml").is_file() and any((folder / m).is_file() for m in marks)


def _status(folder: Path) -> Status:
    if (folder / "FAILED").exists():
        return "failed"
    return "done" if (folder / "DONE").exists() else "unfinished"


def _expand(path: str | Path) -> list[Path]:
    if Path(path).is_dir():
        return [Path(path)]
    if not glob.has_magic(str(path)):
        raise UserError(f"{path}: no such folder{_nearest_folder(Path(path))}")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    folders = [match for match in matches if match.is_dir()]
    if not folders:
        raise UserError(f"{path}: no folder matches this pattern")
    return folders


def _nearest_folder(folder: Path) -> str:
    if not folder.parent.is_dir():
        return ""
    return nearest(folder.name, (entry.name for entry in folder.parent.iterdir()))


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{file}: expected YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise UserError(f"{file}: expected a mapping of settings")
    return config


def _read_evaluations(folder: Path, status: Status) -> pd.DataFrame:
    file = folder / "evaluations.csv"
    if not file.exists():
        if status == "done":
            raise UserError(f"{file}: not there, though the run is done")
        return pd.DataFrame(columns=EVALUATIONS, dtype=float)
    evaluations = _read_csv(file, EVALUATIONS)
    if evaluations.empty:
        if status == "failed":
            return evaluations
        raise UserError(f"{file}: no evaluation in it, expected one row an episode")
    numbers = evaluations[EVALUATIONS].apply(pd.to_numeric, errors="coerce")
    wrong = ~np.isfinite(numbers.to_numpy(dtype=float)).all(axis=1)
    if wrong.any():
        raise UserError(f"{file}: line {wrong.argmax() + 2}: expected five finite numbers")
    repeated = numbers.duplicated(["timesteps", "episode"])
    if repeated.any():
        raise UserError(f"{file}: line {repeated.argmax() + 2}: an episode that was there before")
    episodes = numbers.groupby("timesteps").size()
    if episodes.min() < episodes.max():
        raise UserError(
            f"{file}: half-written, the evaluation at step {episodes.idxmin()} has "
            f"{episodes.min()} of {episodes.max()} episodes"
        )
    return numbers


def _read_csv(file: Path, columns: list[str]) -> pd.DataFrame:
    text = file.read_text()
    if not text.strip():
        raise UserError(f"{file}: empty, expected the header {','.join(columns)}")
    # Without its newline the last number may have lost digits and still look like a number.
    if not text.endswith("\n"):
        raise UserError(f"{file}: half-written, its last line has no end")
    try:
        table = pd.read_csv(file)
    except pd.errors.ParserError as error:
        raise UserError(f"{file}: expected CSV ({' '.join(str(error).split())})") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise UserError(
            f"{file}: no column '{missing[0]}', expected the header {','.join(columns)}"
        )
    return table
