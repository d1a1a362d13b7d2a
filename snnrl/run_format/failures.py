"""``FAILED`` and ``failures.json``: the failure that ended a run, and its earlier failures."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from snnrl.errors import UserError
from snnrl.run_format.documents import read_document
from snnrl.run_format.durable import write_text
from snnrl.run_format.names import FAILED, FAILURES
from snnrl.run_format.status import has_failed
from snnrl.text import shortened

TAIL = 2**16
"""Bytes read from the end of ``FAILED``, whose last line is the reason."""


@dataclass(frozen=True)
class Failure:
    """One failure; equal failures count as the same.

    :param step: environment steps done by then
    :param reason: the line of the exception
    """

    step: int
    reason: str


def write_failed(folder: Path, traceback: str) -> None:
    """Mark a run as failed."""
    write_text(folder / FAILED, traceback)


def read_reason(folder: Path) -> str:
    """Return the last line of the traceback in ``FAILED``.

    :raises UserError: it cannot be read
    """
    file = folder / FAILED
    try:
        if not file.is_file():
            raise UserError(f"{file}: cannot be read, expected a file")
        with file.open("rb") as content:
            content.seek(-min(TAIL, content.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = content.read().decode(errors="replace").split("\n")
    except OSError as problem:
        raise UserError(f"{file}: cannot be read ({problem.strerror})") from None
    found = next((line.strip() for line in reversed(lines) if line.strip()), "no reason recorded")
    return shortened(found)


def read_failures(folder: Path) -> list[Failure]:
    """Return the earlier failures of a run, the latest last; none if the file cannot be read."""
    try:
        entries = [Failure(**entry) for entry in read_document(folder / FAILURES)]
    except (UserError, TypeError):
        return []
    known = all(type(e.step) is int and isinstance(e.reason, str) for e in entries)
    return entries if known else []


def add_failure(folder: Path, failure: Failure) -> None:
    """Append a failure."""
    entries = [asdict(entry) for entry in (*read_failures(folder), failure)]
    write_text(folder / FAILURES, json.dumps(entries, indent=2))


def failed_twice(folder: Path) -> Failure | None:
    """Return a failed run's latest failure if the one before was the same, else None."""
    *_, before, latest = (None, None, *read_failures(folder))
    return latest if latest == before and has_failed(folder) else None
