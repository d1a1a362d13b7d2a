"""Ctrl-C, SIGTERM and a scheduler's warnings ask a run to save itself and stop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""The last two are what SLURM is told to send before a time limit or a preemption."""

LOOK_EVERY_S = 1.0

ONE_SIGNAL_S = 1.0
"""What comes again so soon is the same signal, once from outside and once handed on."""


class StopRequest:
    """Whether to save and stop; a second signal stops at once.

    :param watch: looked at once a second; its number counts as a signal (``None``: go on)
    :param tell: called with the number of the first signal
    """

    def __init__(
        self,
        watch: Callable[[], int | None] | None = None,
        tell: Callable[[int], None] | None = None,
    ) -> None:
        self._asked: int | None = None
        self._signalled: float | None = None
        self._watch = watch
        self._tell = tell
        self._looked = -LOOK_EVERY_S

    @property
    def signal_number(self) -> int | None:
        """The signal that asked to stop."""
        now = time.monotonic()
        if self._asked is None and self._watch and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._asked = self._watch()
        return self._asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        # What was watched may have asked before: a batch system tells both the sweep and its runs.
        now = time.monotonic()
        if self._signalled is not None:
            if now - self._signalled < ONE_SIGNAL_S:
                return
            raise KeyboardInterrupt
        self._signalled = now
        self._asked = number
        print(
            "stopping after this update or evaluation; once more to stop at once", file=sys.stderr
        )
        if self._tell is not None:
            self._tell(number)


@contextmanager
def stop_on_signals(
    watch: Callable[[], int | None] | None = None, tell: Callable[[int], None] | None = None
) -> Iterator[StopRequest]:
    """Inside, a signal sets the request instead of ending the process.

    Inside another such block this is the other's request, so that a signal to one run of a sweep,
    at whatever moment, is one to the sweep. See :class:`StopRequest` for the parameters.
    """
    active = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(active, StopRequest):
        yield active
        return
    request = StopRequest(watch, tell)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
