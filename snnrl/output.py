"""Standard output and error that survive the loss of their reader."""

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


class ResilientStream:
    """A text stream whose failures are ignored: text that it cannot write is dropped.

    A reader may exit (``| head``), a terminal may be closed, a disk may be full. A slow reader
    (Ctrl-S, ``| less``) is waited for, until :func:`wait_for_readers` says otherwise.

    :param stream: stream to write to
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._gone = False
        self.failure: OSError | None = None
        """Reason why writing failed, other than a lost reader: a full disk."""

    def write(self, text: str) -> int:
        """Write all of a text, or drop the part that the stream does not accept."""
        pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
        self._try(pieces)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream's buffer."""
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
        """Wait for the reader; return whether it accepts more."""
        handle = _descriptor(self._stream)
        if handle is None:
            return True
        while not _accepts_more(handle, LOOK_EVERY_MS if _waits else 0):
            if not _waits:
                return False
        return True

    def _give_up(self) -> None:
        """Discard all further output, including that of libraries and that flushed at exit."""
        self._gone = True
        handle = _descriptor(self._stream)
        if handle is not None:
            with suppress(OSError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), handle)


@contextmanager
def resilient_output() -> Iterator[None]:
    """Context in which ``sys.stdout`` and ``sys.stderr`` are :class:`ResilientStream`, even if "
    "closed."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (_resilient(stream or nowhere) for stream in before)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = before


def wait_for_readers(yes: bool) -> None:
    """Set whether to wait for a slow reader; a process that is to end does not."""
    global _waits
    _waits = yes


def write_now(line: str) -> None:
    """Write a line to standard error if it can be written now, without locks: for signal
    handlers."""
    handle = _descriptor(sys.stderr)
    if handle is not None:
        with suppress(OSError):
            if _accepts_more(handle, 0):
                os.write(handle, f"{line}\n".encode())


def _resilient(stream: TextIO) -> TextIO:
    return stream if isinstance(stream, ResilientStream) else cast(TextIO, ResilientStream(stream))


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _accepts_more(handle: int, milliseconds: int) -> bool:
    """Return whether a write would not block; also true if it would fail."""
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    return bool(poll.poll(milliseconds))
