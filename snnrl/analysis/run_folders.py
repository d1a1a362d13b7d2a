"""Run folders: their locations, and the runs in them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from snnrl.analysis.run_facts import hardware_of, sources_of, versions_of
from snnrl.analysis.runs import Run
from snnrl.analysis.shown_config import shown_config
from snnrl.errors import UserError, nearest
from snnrl.run_format.config import read_config
from snnrl.run_format.done import check_sealed
from snnrl.run_format.evaluations import read_evaluations, read_evaluations_of_failed
from snnrl.run_format.failures import read_reason
from snnrl.run_format.names import CONFIG, EVALUATIONS, PROVENANCE, SEED, TABLES
from snnrl.run_format.progress import read_clock
from snnrl.run_format.provenance import read_provenance
from snnrl.run_format.statistics_error import read_statistics_error
from snnrl.run_format.status import is_run, status_of

READ = (CONFIG, PROVENANCE, *TABLES)
"""Files that a run is read from."""


def load_run(folder: str | Path) -> Run:
    """Read one run folder.

    :raises UserError: the folder does not exist, is not a run's, or holds a file that is empty,
        half-written or not of the expected form (of a failed run, whose numbers enter nothing,
        only its configuration and provenance must be readable)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{_nearest_folder(folder)}")
    if not is_run(folder):
        raise UserError(f"{folder}: not a run folder, expected {CONFIG} and {EVALUATIONS} in it")
    status = status_of(folder)
    failed = status == "failed"
    if status == "done":
        check_sealed(folder, READ)
    starts = read_provenance(folder)
    run = Run(
        str(folder),
        shown_config(read_config(folder)),
        read_evaluations_of_failed(folder) if failed else read_evaluations(folder, status),
        status,
        reason=read_reason(folder) if failed else "",
        clock=pd.Series(dtype=float) if failed else read_clock(folder, status),
        statistics_error=None if failed else read_statistics_error(folder, status),
        versions=versions_of(starts),
        hardware=hardware_of(starts),
        sources=sources_of(starts),
    )
    _ = run.environment, run.seed
    return run


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Return all runs at or below the given folders; a path may be a shell-style pattern.

    :return: each run once, ordered by folder name
    :raises UserError: a path that leads to no run, or a run that cannot be read
    """
    return [load_run(folder) for folder in find_folders(paths).runs]


class Found(NamedTuple):
    """Run folders, and reports on paths that may hide others.

    :param runs: each once, also those behind links, ordered by name
    :param left_out: a line for each link that leads nowhere or in a circle, and for each folder
        that cannot be read
    """

    runs: list[Path]
    left_out: list[str]


def find_folders(paths: Iterable[str | Path]) -> Found:
    """Return all run folders at or below the given folders; a path may be a shell-style pattern.

    :raises UserError: a path that leads to no run, or a run with a missing file
    """
    runs: dict[Path, Path] = {}
    left_out: list[str] = []
    for path in paths:
        for root in _expand(path, left_out):
            lost: list[tuple[Path, str]] = []
            found = [folder for folder in walk(root, lost) if _is_whole_run(folder)]
            if not found:
                raise UserError(
                    f"{root}: no run in or below it, expected folders with {CONFIG} and "
                    f"{EVALUATIONS}"
                )
            for folder in found:
                runs.setdefault(folder.resolve(), folder)
            left_out += [f"{why}: {path}" for path, why in lost]
    return Found([runs[key] for key in sorted(runs)], list(dict.fromkeys(left_out)))


def walk(root: Path, lost: list[tuple[Path, str]]) -> Iterator[Path]:
    """Yield folders at or below a folder, also through links, each once: first those without a
    link.

    The search does not enter run folders, nor links in them, such as those of W&B.

    :param lost: receives paths that are not searched, with the reason
    """
    seen: set[str] = set()
    above = {str(folder) for folder in Path(os.path.realpath(root)).parents}
    starts = [root]

    def refused(problem: OSError) -> None:
        where, why = Path(problem.filename or root), problem.strerror
        lost.append((where, f"left out, cannot be read ({why})"))

    for start in starts:  # grows meanwhile
        for name, folders, files in os.walk(start, onerror=refused):
            real, folder = os.path.realpath(name), Path(name)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            yield folder
            if is_run(folder):
                folders.clear()
                continue
            folders.sort()
            links = [path for name in folders if (path := folder / name).is_symlink()]
            for link in links:
                if os.path.realpath(link) in above:
                    lost.append((link, "left out, a link to a folder above it"))
                else:
                    starts.append(link)
            for path in (folder / name for name in sorted(files)):
                if path.is_symlink() and not path.exists():
                    lost.append((path, "left out, a link to nothing"))


def _is_whole_run(folder: Path) -> bool:
    """Return :func:`_is_run`, but refuse a damaged run: skipping it would silently drop its seed.

    :raises UserError: a run with a missing file
    """
    has_config = (folder / CONFIG).is_file()
    if not has_config and os.path.lexists(folder / EVALUATIONS):
        raise UserError(f"{folder}: half-written or damaged, it has no {CONFIG}")
    if has_config and folder.name.startswith(SEED) and not is_run(folder):
        raise UserError(
            f"{folder}: half-written or damaged, it has neither {EVALUATIONS} nor {PROVENANCE}"
        )
    return is_run(folder)


def _expand(path: str | Path, left_out: list[str]) -> list[Path]:
    if Path(path).is_dir():
        return [Path(path)]
    if Path(path).is_file():
        raise UserError(f"{path}: a file, expected a run folder or one above it")
    if not glob.has_magic(str(path)):
        raise UserError(f"{path}: no such folder{_nearest_folder(Path(path))}")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    folders = [match for match in matches if match.is_dir()]
    nowhere = [match for match in matches if not match.exists()]
    left_out += [f"left out, a link to nothing: {match}" for match in nowhere]
    if not folders:
        raise UserError(f"{path}: no folder matches this pattern")
    return folders


def _nearest_folder(folder: Path) -> str:
    if not folder.parent.is_dir():
        return ""
    return nearest(folder.name, (entry.name for entry in folder.parent.iterdir()))
