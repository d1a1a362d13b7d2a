"""Copy the records of the runs to ``results/paper/``, without models and checkpoints."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.evidence.place import Place
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from snnrl.errors import RunFailed, UserError
from snnrl.run_format.names import DONE, FAILED, RECORD, RUNS, TABLES

ENDS = (DONE, FAILED)
UNFINISHED = "UNFINISHED"
"""File in the record of an unfinished run; its one line gives the steps at the collection."""

STAGING = ".collecting"


def collect(place: Place) -> None:
    """Copy the records of all runs.

    A record is replaced as a whole, and only by a longer one, or by one of the same length that
    says how the run ended. A run that cannot be read is reported, and its earlier record stays.

    :raises UserError: there are no runs, another process is collecting, or the results cannot be
        written
    :raises RunFailed: a run could not be read
    """
    folders = sorted(file.parent for file in place.runs.glob(f"*/{RUNS}"))
    if not folders:
        raise UserError(f"{place.runs}: no runs there; expected scripts/evidence.sh start first")
    unread = []
    try:
        with _staging(place.results) as staging:
            for folder in folders:
                target = place.results / folder.relative_to(place.runs)
                try:
                    came = _collect_one(folder, target, staging)
                except UserError as damage:
                    unread.append(str(damage))
                    continue
                print(f"{folder.relative_to(place.runs)}: {came}")
    except OSError as problem:
        raise UserError(
            f"{place.results}: cannot write there ({problem.strerror}); records collected "
            "earlier are unchanged"
        ) from None
    for line in unread:
        print(f"not collected: {line}")
    if unread:
        raise RunFailed("some runs could not be collected; the lines above say why")


def _collect_one(folder: Path, target: Path, staging: Path) -> str:
    """Collect one run.

    :return: the outcome, in words
    :raises UserError: the run cannot be read
    """
    new, old = staging / "new", staging / "old"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        _copy(folder, new)
        run = load_run(new)
    except UserError as damage:
        raise UserError(str(damage).replace(str(new), str(folder))) from None
    if run.evaluations.empty:
        return "not evaluated yet"
    earlier = _earlier(target)
    if earlier is not None and not _is_longer(run, earlier):
        return f"{earlier.steps:,} steps, already collected"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # Tells the next collection where the old record belongs, if this one is killed below.
        (staging / "belongs").write_text(str(target))
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return f"{run.steps:,} steps" + ("" if run.status == "done" else f", {run.status}")


def _is_longer(run: Run, earlier: Run) -> bool:
    if run.steps != earlier.steps:
        return run.steps > earlier.steps
    return run.status == "done" or earlier.status != "done"


def _earlier(target: Path) -> Run | None:
    try:
        return load_run(target) if target.exists() else None
    except UserError:
        return None  # a damaged record counts as none


def _copy(folder: Path, new: Path) -> None:
    """Copy the record of a run that may still be running.

    :raises UserError: the record is incomplete
    """
    while True:
        before = _read_ends(folder)
        for name in (*RECORD, *TABLES):
            content = _read(folder / name)
            if content is not None:
                # Leaves out a last line that is still being written.
                whole = content.rfind(b"\n") + 1 if name in TABLES and not before else None
                (new / name).write_bytes(content[:whole])
        if _read_ends(folder) == before:
            break
    for name, content in before.items():
        # A traceback names files of this machine. Its last line is the error.
        last = content.strip().splitlines()[-1:] if name == FAILED else [content.rstrip()]
        (new / name).write_bytes(b"".join(last) + b"\n")
    if not before:
        run = load_run(new)
        total = run.settings.get("total_steps", 0)
        (new / UNFINISHED).write_text(f"{run.steps:,} of {total:,} steps when it was collected\n")


def _read_ends(folder: Path) -> dict[str, bytes]:
    """Return the contents of the files that say how a run ended; empty while it is running."""
    found = {name: _read(folder / name) for name in ENDS}
    return {name: content for name, content in found.items() if content is not None}


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def _staging(results: Path) -> Iterator[Path]:
    """Lock the results, undo what a killed collection left, and yield an empty staging folder.

    :raises UserError: another process is collecting
    """
    results.mkdir(parents=True, exist_ok=True)
    handle = os.open(results / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{results}: another process is collecting there; expected one at a time"
            ) from None
        staging = results / STAGING
        _clean_up(staging)
        staging.mkdir()
        try:
            yield staging
        finally:
            _clean_up(staging)
    finally:
        os.close(handle)


def _clean_up(staging: Path) -> None:
    """Restore a record whose replacement never arrived, and remove the staging folder."""
    if (staging / "old").exists():
        target = Path((staging / "belongs").read_text())
        if not target.exists():
            (staging / "old").rename(target)
    if staging.exists():
        shutil.rmtree(staging)
