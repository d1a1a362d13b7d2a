"""Failures of the machine, which a retry may not meet."""

from __future__ import annotations

import errno

from snnrl.memory import is_memory_error

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_machine_failure(failure: BaseException) -> bool:
    """Return whether a disk was full or not writable, or memory ran out."""
    cause: BaseException | None = failure
    while cause is not None:
        if is_memory_error(cause) or (isinstance(cause, OSError) and cause.errno in DISK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
