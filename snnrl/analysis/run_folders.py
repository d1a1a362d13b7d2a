"""Run folders: where they are, and the runs in them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from snnrl.analysis.run_done import check_sealed
from snnrl.analysis.run_files import (
    read_clock,
    read_config,
    read_evaluations,
    read_evaluations_of_failed,
    read_provenance,
    read_statistics_error,
)
from snnrl.analysis.runs import Run, Status
from snnrl.errors import UserError, nearest

READ = (
    "config.yaml",
    "provenance.json",
    "evaluations.csv",
    "progress.csv",
    "statistics_error.csv",
)
"""What a run is read from."""


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
    if status == "done":
        check_sealed(folder, READ)
    versions, hardware = read_provenance(folder)
    run = Run(
        str(folder),
        read_config(folder),
        read_evaluations_of_failed(folder) if failed else read_evaluations(folder, status),
        status,
        reason=_reason(folder) if failed else "",
        clock=pd.Series(dtype=float) if failed else read_clock(folder, status),
        statistics_error=None if failed else read_statistics_error(folder, status),
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
    for file in sorted(root.rglob("seed-*/config.yaml")):
        if not _is_run(file.parent):
            raise UserError(
                f"{file.parent}: half-written or damaged, it has neither evaluations.csv nor "
                "provenance.json"
            )


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
    if Path(path).is_file():
        raise UserError(f"{path}: a file, expected a run folder or one above it")
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
