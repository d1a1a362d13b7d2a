"""Writing files that stay complete through a crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file so that at any moment it is either the old one or the new one, complete.

    On return, the file is on disk under its name, and survives a power failure.

    :raises OSError: it cannot be written; the old file stays
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        # The path may be a link to a file elsewhere.
        if os.path.lexists(temporary):
            temporary.unlink()
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as problem:
        # Half a file would take space that a full disk lacks.
        temporary.unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to disk: files made, renamed and removed in it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that at any moment it is either the old one or the new one, complete."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text with :func:`replace_file`; it ends with one newline."""
    replace_file(path, (text.rstrip() + "\n").encode())
