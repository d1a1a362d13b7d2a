"""Lowest scheduling priority, for processes in sessions of their own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOWEST = 19


def lower(pid: int) -> None:
    """Give a process, and those that it will start, the lowest priority.

    Where Linux schedules each session as a group (``sched(7)``, autogroup), the nice value of a
    process counts only within its session. The session has a nice value of its own, which counts
    against other sessions. That one is set only if the process leads its session, so never for a
    user's terminal.
    """
    os.setpriority(os.PRIO_PROCESS, pid, LOWEST)
    if os.getsid(pid) == pid:
        with suppress(OSError):  # not Linux, or no autogroups
            Path(f"/proc/{pid}/autogroup").write_text(str(LOWEST))
