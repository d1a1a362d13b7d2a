"""Lock that allows one queue per folder, and a record of the queue that holds it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from snnrl.errors import UserError

SAVE_TIMEOUT_S = 600.0
"""Seconds that the runs of a killed queue may take to save themselves."""

STATUS_QUERY_S = 1.0
"""Seconds after which the holder of the lock cannot be a status query, which is short."""

POLL_S = 0.1


class Lock:
    """Lock that is released when the queue and all of its runs, which inherit it, have ended.

    :param folder: folder of the queue
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.handle = -1

    def take(self) -> None:
        """Take the lock, after waiting for the runs of a killed queue to save themselves.

        :raises UserError: a queue is running, the runs of a killed one do not stop, or the folder
            cannot be written to
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.handle = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR)
        except OSError as problem:
            where = problem.filename or self.folder
            raise UserError(f"{where}: cannot write there ({problem.strerror})") from None
        began, told = time.monotonic(), False
        while not self._try_lock(self.handle, fcntl.LOCK_EX):
            waited = time.monotonic() - began
            queue = read_queue(self.folder)
            # A status query holds the lock for a moment, too.
            if waited > STATUS_QUERY_S and queue is not None and is_alive(queue["pid"]):
                raise UserError(
                    f"{self.folder.parent}: a queue is running there (process {queue['pid']}); "
                    "expected scripts/evidence.sh stop first, or another EVIDENCE_DIR"
                )
            if waited > SAVE_TIMEOUT_S:
                raise UserError(
                    f"{self.folder.parent}: runs of an earlier queue do not stop; expected their "
                    "end first, or another EVIDENCE_DIR"
                )
            if waited > STATUS_QUERY_S and not told:
                told = True
                print("waiting until the runs of an earlier queue are saved", flush=True)
            time.sleep(POLL_S)

    def write_queue(self, runs: Mapping[int, Sequence[str]]) -> None:
        """Record the queue's process and its runs; ignore a failure to write, as on a full disk.

        :param runs: process id and command line of each run
        """
        new = self.folder / "queue.json.new"
        with suppress(OSError):
            new.write_text(json.dumps({"pid": os.getpid(), "runs": runs}))
            new.replace(self.folder / "queue.json")

    def is_held(self) -> bool:
        """Return whether a queue, or a run of one, holds the lock."""
        try:
            handle = os.open(self.folder / ".lock", os.O_RDWR)
        except OSError:
            return False
        try:
            return not self._try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    @staticmethod
    def _try_lock(handle: int, kind: int) -> bool:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def read_queue(folder: Path) -> dict[str, Any] | None:
    """Return the last record of the lock's holder; None if it cannot be read."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / "queue.json").read_text())
        if isinstance(content, dict) and isinstance(content.get("pid"), int):
            return content
    return None


def is_alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
