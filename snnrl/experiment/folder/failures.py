"""What a run failed of before, so that the same is not tried for ever."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from snnrl.analysis.documents import read_document
from snnrl.errors import UserError
from snnrl.experiment.folder.tables import replace_file
from snnrl.memory import is_of_the_memory

FAILURES = "failures.json"
"""The failures of a run, one after another; gone when it is done."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Failure:
    """One failure; two that are equal are the same.

    :param step: environment steps done by then
    :param reason: the line of the exception
    """

    step: int
    reason: str


def read_failures(folder: Path) -> list[Failure]:
    """Failures of the run in a folder, the latest last; a file that cannot be read tells none."""
    try:
        entries = [Failure(**entry) for entry in read_document(folder / FAILURES)]
    except (UserError, TypeError):
        return []
    known = all(type(e.step) is int and isinstance(e.reason, str) for e in entries)
    return entries if known else []


def is_of_the_machine(failure: BaseException) -> bool:
    """Whether a disk was full or not to be written to, or memory did not suffice.

    Tried again, that may have been mended.
    """
    cause: BaseException | None = failure
    while cause is not None:
        if is_of_the_memory(cause) or (isinstance(cause, OSError) and cause.errno in DISK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def add_failure(folder: Path, failure: Failure) -> None:
    """Write down one more."""
    entries = [asdict(entry) for entry in (*read_failures(folder), failure)]
    replace_file(folder / FAILURES, (json.dumps(entries, indent=2) + "\n").encode())


def failed_twice(folder: Path) -> Failure | None:
    """The latest failure of a run that has failed, where the one before was the same."""
    *_, before, latest = (None, None, *read_failures(folder))
    return latest if latest == before and (folder / "FAILED").exists() else None
