"""Standard output and error that outlast whoever reads them."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

PIECE = 1000
"""Characters that are written at once: in UTF-8 fewer bytes than a pipe that is ready takes."""

LOOK_EVERY_MS = 1000

READER_IS_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)

_waits = True


class Lasting:
    """A text stream whose failures end nothing: what it cannot write is dropped.

    A reader may go away (``| head``), a terminal be closed, a disk be full. A reader that is only
    slow (Ctrl-S, ``| less``) is waited for, until :func:`wait_for_readers` says otherwise.

    :param stream: what to write to
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._gone = False
        self.failure: OSError | None = None
        """Why it took no more, if not for want of a reader: a full disk."""

    def write(self, text: str) -> int:
        """Write all of a text, or drop what the stream does not take."""
        pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
        self._try(pieces)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is still in a buffer."""
        self._try([""])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, pieces: Iterable[str]) -> None:
        if self._gone:
            return
        try:
            for piece in pieces:
                if not self._is_ready():
                    return
                self._stream.write(piece)
                self._stream.flush()
        except OSError as problem:
            if problem.errno not in READER_IS_GONE:
                self.failure = problem
            self._give_up()
        except ValueError:
            if not self._stream.closed:
                raise
            self._gone = True

    def _is_ready(self) -> bool:
        """Wait for the reader; whether it takes a piece."""
        handle = _descriptor(self._stream)
        if handle is None:
            return True
        while not _takes_more(handle, LOOK_EVERY_MS if _waits else 0):
            if not _waits:
                return False
        return True

    def _give_up(self) -> None:
        """Let the rest go nowhere, also what libraries write and what is flushed at the exit."""
        self._gone = True
        handle = _descriptor(self._stream)
        if handle is not None:
            with suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), handle)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Inside, ``sys.stdout`` and ``sys.stderr`` are :class:`Lasting`, even if they are closed."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (_lasting(stream or nowhere) for stream in before)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def wait_for_readers(yes: bool) -> None:
    """Say whether a reader that is slow is waited for: not by a process that is to end."""
    global _waits
    _waits = yes


def say_at_once(line: str) -> None:
    """Write a line to standard error if it takes one now, without locks: for signal handlers."""
    handle = _descriptor(sys.stderr)
    if handle is not None:
        with suppress(OSError):
            if _takes_more(handle, 0):
                os.write(handle, f"{line}\n".encode())


def _lasting(stream: TextIO) -> TextIO:
    return stream if isinstance(stream, Lasting) else cast(TextIO, Lasting(stream))


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _takes_more(handle: int, milliseconds: int) -> bool:
    """Whether a write would not block; also true of one that would fail."""
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    return bool(poll.poll(milliseconds))
