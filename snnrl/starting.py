"""Setup of a command before its imports, which take seconds: import this first.

It acts in a process that was started with ``python -m snnrl.train`` and the like, and leaves any
other alone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from snnrl.memory import is_memory_error, memory_message

COMMANDS = tuple(
    f"snnrl.{name}" for name in ("train", "classify", "evaluate", "convert", "compare", "reproduce")
)


def begin() -> None:
    """From now on Ctrl-C is one line, and so is too little memory for the imports."""
    _fill_descriptors()
    # Ignored by a shell that started this in the background: it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    sys.excepthook = _explain


def imported() -> None:
    """From now on Ctrl-C is a :class:`KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def importing() -> Iterator[None]:
    """Context in which late imports of a command are treated like those at its start."""
    late = sys.excepthook is _explain and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if late:
        signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        imported()


def _fill_descriptors() -> None:
    """Open what was closed (``2>&-``): or a file of the run would be standard error's number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _stop(number: int, frame: FrameType | None) -> None:
    # An exception would pass through initialisations in C++, which abort the process of one.
    _say("stopped at once")
    os._exit(128 + number)


def _explain(
    kind: type[BaseException], problem: BaseException, trace: TracebackType | None
) -> None:
    cause: BaseException | None = problem
    while cause is not None:
        if is_memory_error(cause):
            first = str(cause).partition("\n")[0]
            return _say(memory_message(first or type(cause).__name__))
        # Packages say of a package below only that it cannot be imported.
        cause = cause.__cause__ or cause.__context__
    sys.__excepthook__(kind, problem, trace)


def _say(line: str) -> None:
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())


if getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) in COMMANDS:
    begin()
