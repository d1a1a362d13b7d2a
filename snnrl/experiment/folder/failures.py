"""Failures that are the machine's: tried again, a run may not meet them."""

from __future__ import annotations

import errno

from snnrl.memory import is_of_the_memory

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def is_of_the_machine(failure: BaseException) -> bool:
    """Whether a disk was full or not to be written to, or memory did not suffice."""
    cause: BaseException | None = failure
    while cause is not None:
        if is_of_the_memory(cause) or (isinstance(cause, OSError) and cause.errno in DISK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
