"""Out-of-memory errors, for which every library has its own message."""

from __future__ import annotations

import errno

WORDS = ("allocate memory", "out of memory", "failed to map segment", "can't start new thread")
"""Of torch, which on a CPU has no class of its own for it, of CUDA, the linker and Python."""


def is_memory_error(failure: BaseException) -> bool:
    """Return whether memory ran out: Python's, torch's on a CPU or a GPU, or the system's."""
    told = isinstance(failure, OSError) and failure.errno == errno.ENOMEM
    text = str(failure).lower()
    return told or isinstance(failure, MemoryError) or any(words in text for words in WORDS)


def memory_message(reason: str) -> str:
    """Return the line that a command ends with."""
    return f"failed: not enough memory on this machine ({reason})"
