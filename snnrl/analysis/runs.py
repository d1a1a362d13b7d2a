"""Runs, and how their folders are read."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
    "retry",
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


TIME_ELAPSED = "time/time_elapsed"
"""Column of progress.csv: seconds since the run's process started."""

HARDWARE = ("cpu", "cpus", "gpu")


@dataclass(frozen=True, eq=False)
class Run:
    """One training run, wherever its numbers come from.

    :param name: where it comes from: a folder, or a W&B path
    :param config: the resolved configuration, nested
    :param evaluations: one row an evaluation episode, columns ``timesteps`` (environment steps),
        ``episode``, ``seed``, ``return``, ``length`` (steps); empty for a run that failed or was
        cut off before its first evaluation
    :param status: ``unfinished`` is still running or was cut off
    :param reason: why it failed, in a line; empty for other runs
    :param clock: seconds of wall time, indexed by environment steps; empty if unknown
    :param statistics_error: one row a layer, evaluation, data and phase; None if unknown
    :param versions: of the packages, the code and the kernel; empty if unknown
    :param hardware: what it ran on, by the keys ``HARDWARE``; empty if unknown
    """

    name: str
    config: dict[str, Any]
    evaluations: pd.DataFrame
    status: Status
    reason: str = ""
    clock: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    statistics_error: pd.DataFrame | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)

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
                f"{self.name}: no key '{key}' in its configuration{nearest(key, self.settings)}"
            )
        return self.settings[key]

    @property
    def environment(self) -> str:
        """The gymnasium id."""
        return str(self.setting("env.id"))

    @property
    def seed(self) -> int:
        """The seed of training.

        :raises UserError: the run has none, or one that is no integer
        """
        seed = self.setting("seed")
        if not isinstance(seed, int):
            raise UserError(f"{self.name}: seed={seed}: expected an integer")
        return seed

    @property
    def has_result(self) -> bool:
        """Whether the run enters means: it was evaluated and did not fail."""
        return self.status != "failed" and not self.evaluations.empty

    @property
    def steps(self) -> int:
        """Environment steps at the last evaluation; 0 for a run that has none."""
        return 0 if self.evaluations.empty else int(self.evaluations["timesteps"].max())


def load_run(folder: str | Path) -> Run:
    """Read one run folder.

    :raises UserError: the folder does not exist, is not a run's, or holds a file that is empty,
        half-written or not of the expected form (of a failed run, whose numbers enter nothing,
        only its configuration and provenance must be readable)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{_nearest_folder(folder)}")
    if not _is_run(folder):
        raise UserError(
            f"{folder}: not a run folder, expected config.yaml and evaluations.csv in it"
        )
    status = _status(folder)
    failed = status == "failed"
    versions, hardware = _read_provenance(folder)
    run = Run(
        str(folder),
        _read_config(folder),
        _read_evaluations_of_failed(folder) if failed else _read_evaluations(folder, status),
        status,
        reason=_reason(folder) if failed else "",
        clock=pd.Series(dtype=float) if failed else _read_clock(folder),
        statistics_error=None if failed else _read_statistics_error(folder),
        versions=versions,
        hardware=hardware,
    )
    _ = run.environment, run.seed
    return run


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """All runs at or below the given folders; a path may be a shell-style pattern.

    :return: each run once, ordered by folder name
    :raises UserError: a path that leads to no run, or a run that cannot be read
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        for root in _expand(path):
            found = [file.parent for file in root.rglob("config.yaml") if _is_run(file.parent)]
            _check_whole(root)
            if not found:
                raise UserError(
                    f"{root}: no run in or below it, expected folders with config.yaml and "
                    "evaluations.csv"
                )
            folders.update({folder.resolve(): folder for folder in found})
    return [load_run(folders[key]) for key in sorted(folders)]


def _check_whole(root: Path) -> None:
    # Passed over, its seed would be missing without a word.
    for file in sorted(root.rglob("evaluations.csv")):
        if not (file.parent / "config.yaml").is_file():
            raise UserError(f"{file.parent}: half-written or damaged, it has no config.yaml")


def _is_run(folder: Path) -> bool:
    # A run that ended before its first evaluation is a run, and must not be overlooked.
    marks = ("evaluations.csv", "provenance.json", "FAILED", "DONE", ".lock")
    return (folder / "config.yaml").is_file() and any((folder / m).is_file() for m in marks)


def _status(folder: Path) -> Status:
    if (folder / "FAILED").exists():
        return "failed"
    return "done" if (folder / "DONE").exists() else "unfinished"


def _reason(folder: Path) -> str:
    """The last line of the traceback in FAILED."""
    lines = (folder / "FAILED").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason recorded")


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


def _read_evaluations_of_failed(folder: Path) -> pd.DataFrame:
    try:
        return _read_evaluations(folder, "failed")
    except UserError:
        return pd.DataFrame(columns=EVALUATIONS, dtype=float)


def _read_clock(folder: Path) -> pd.Series:
    """Wall time by progress.csv. A resumed run's clock starts anew: where it falls back, what had
    passed before is added; the time between the last row and the interruption is not known."""
    file = folder / "progress.csv"
    if not file.exists():
        return pd.Series(dtype=float)
    table = _read_csv(file, ["timesteps"])
    if TIME_ELAPSED not in table:
        return pd.Series(dtype=float)
    columns = table[["timesteps", TIME_ELAPSED]].apply(pd.to_numeric, errors="coerce").dropna()
    return add_up_restarts(columns.groupby("timesteps")[TIME_ELAPSED].max())


def add_up_restarts(seconds: pd.Series) -> pd.Series:
    """Seconds since the first start, from seconds since the last one (by environment steps)."""
    before = seconds.shift()
    return seconds + before.where(seconds < before, 0.0).cumsum()


def _read_statistics_error(folder: Path) -> pd.DataFrame | None:
    file = folder / "statistics_error.csv"
    if not file.exists():
        return None
    table = _read_csv(file, STATISTICS_ERROR)
    for column in ("timesteps", "mean_error", "variance_ratio", "wasserstein2"):
        if not pd.api.types.is_numeric_dtype(table[column]) and not table.empty:
            raise UserError(f"{file}: column '{column}': expected numbers only")
    return table


def _read_provenance(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Versions and hardware."""
    file = folder / "provenance.json"
    if not file.exists():
        return {}, {}
    try:
        provenance = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file}: expected JSON ({error})") from None
    earlier = provenance.get("resumed_from", []) if isinstance(provenance, dict) else None
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


def _code(provenance: Mapping[str, Any]) -> dict[str, str]:
    """The git revision, with a digest of what was not committed."""
    git = provenance.get("git") or {}
    if not git.get("revision"):
        return {}
    changes = {key: git[key] for key in ("diff", "untracked") if git.get(key)}
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]
    return {"code": git["revision"][:8] + (f" with changes {digest}" if changes else "")}


def _together(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """One value a name; of a run that was resumed elsewhere, all of them in their order."""
    values: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in record.items():
            values.setdefault(name, {})[str(value)] = None
    return {name: " then ".join(found) for name, found in values.items()}


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
