"""What there is of the runs -> ``results/paper/``, without models and checkpoints."""

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
"""Marks what was collected of a run that goes on; its one line says how far it was."""

STAGING = ".collecting"


def collect(place: Place) -> None:
    """Copy the records of all runs, each as a whole.

    A record is replaced by a longer one only, or of the same length by one that says how the run
    ended. A run that cannot be read is named, and the record that there is stays.

    :raises UserError: no runs, or a disk that is full
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

    :return: what came of it
    :raises UserError: it cannot be read
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
        return f"{earlier.steps:,} steps, as collected before"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # It says where it belongs, if the next line is never reached.
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
        return None  # no record, whatever made it so


def _copy(folder: Path, new: Path) -> None:
    """Copy a record whose run may go on meanwhile.

    :raises UserError: it is no whole record
    """
    while True:
        before = _read_ends(folder)
        for name in (*RECORD, *TABLES):
            content = _read(folder / name)
            if content is not None:
                # A line that is being written is none yet.
                whole = content.rfind(b"\n") + 1 if name in TABLES and not before else None
                (new / name).write_bytes(content[:whole])
        if _read_ends(folder) == before:
            break
    for name, content in before.items():
        # Tracebacks name files of this machine; what it failed of is the last line.
        last = content.strip().splitlines()[-1:] if name == FAILED else [content.rstrip()]
        (new / name).write_bytes(b"".join(last) + b"\n")
    if not before:
        run = load_run(new)
        total = run.settings.get("total_steps", 0)
        (new / UNFINISHED).write_text(f"{run.steps:,} of {total:,} steps when it was collected\n")


def _read_ends(folder: Path) -> dict[str, bytes]:
    """The files that say how the run ended, none while it goes on."""
    found = {name: _read(folder / name) for name in ENDS}
    return {name: content for name, content in found.items() if content is not None}


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def _staging(results: Path) -> Iterator[Path]:
    """A folder beside the records, of one collection at a time; one that was killed is put right.

    :raises UserError: another collection is under way
    """
    results.mkdir(parents=True, exist_ok=True)
    handle = os.open(results / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{results}: another process is collecting there") from None
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
    """Bring back a record that had been moved away for a new one that did not come."""
    if (staging / "old").exists():
        target = Path((staging / "belongs").read_text())
        if not target.exists():
            (staging / "old").rename(target)
    if staging.exists():
        shutil.rmtree(staging)
