"""Save and stop a run on Ctrl-C, SIGTERM, a closed terminal or a scheduler's warning."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

from snnrl.output import wait_for_readers, write_now

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals handled; SLURM is told to send the last two before a time limit or a preemption."""

LOOK_EVERY_S = 1.0

TELL_WITHIN_S = 0.2

ONE_SIGNAL_S = 1.0
"""Seconds within which a repeated signal is the same one, received directly and forwarded."""


class StopRequest:
    """Request to save and stop; a second signal stops at once.

    :param watch: polled once a second; a number counts as a signal, ``None`` as no request
    """

    def __init__(self, watch: Callable[[], int | None] | None = None) -> None:
        self._asked: int | None = None
        self._signalled: float | None = None
        self._watch = watch
        self._looked = -LOOK_EVERY_S

    @property
    def signal_number(self) -> int | None:
        """Return the signal that asked to stop."""
        now = time.monotonic()
        if self._asked is None and self._watch and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._asked = self._watch()
        return self._asked

    @property
    def received(self) -> int | None:
        """Return the signal that this process received."""
        return None if self._signalled is None else self._asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, possibly in the middle of a print, whose locks are held."""
        # The sweep may have asked before: a batch system signals both the sweep and its runs.
        now = time.monotonic()
        if self._signalled is not None:
            # A closing terminal may send several signals, some time apart.
            if number == signal.SIGHUP or now - self._signalled < ONE_SIGNAL_S:
                return
            raise KeyboardInterrupt
        self._asked = number
        self._signalled = now
        wait_for_readers(False)
        write_now("stopping after this update or evaluation step; repeat to stop at once")


@contextmanager
def stop_on_signals(
    watch: Callable[[], int | None] | None = None, tell: Callable[[int], None] | None = None
) -> Iterator[StopRequest]:
    """Context in which a signal sets the request instead of ending the process.

    A nested context shares the outer one's request, so that a signal to one run of a sweep, at any
    moment, is one to the sweep.

    :param watch: see :class:`StopRequest`
    :param tell: called in another thread with the number of the first signal
    """
    active = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(active, StopRequest):
        yield active
        return
    request = StopRequest(watch)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    wait_for_readers(True)
    before = {number: signal.signal(number, request.handle) for number in _handled()}
    try:
        with _telling(request, tell) if tell is not None else nullcontext():
            yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled() -> list[signal.Signals]:
    """Return the handled signals: all, except SIGHUP under ``nohup``."""
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [number for number in SIGNALS if not (stays and number == signal.SIGHUP)]


@contextmanager
def _telling(request: StopRequest, tell: Callable[[int], None]) -> Iterator[None]:
    """Context in which a thread calls ``tell`` on the first signal: a handler must not write to
    disk."""
    ended = threading.Event()

    def watch() -> None:
        while request.received is None and not ended.wait(TELL_WITHIN_S):
            pass
        number = request.received
        if number is not None:
            try:
                tell(number)
            except OSError as problem:
                print(f"the runs cannot be asked to stop ({problem})", file=sys.stderr)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
