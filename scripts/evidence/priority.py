"""The lowest priority, for processes in sessions of their own."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOWEST = 19


def lower(pid: int) -> None:
    """Give a process, and what it will start, the lowest priority.

    Where Linux schedules each session as a group (``sched(7)``, autogroup), a nice value counts
    only within its session; the session's own says how it does against others. It is set for the
    leader of a session, never for a guest in somebody's terminal.
    """
    os.setpriority(os.PRIO_PROCESS, pid, LOWEST)
    if os.getsid(pid) == pid:
        with suppress(OSError):  # no Linux, or no such groups
            Path(f"/proc/{pid}/autogroup").write_text(str(LOWEST))
