"""Start and stop the queue."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from scripts.evidence.lock import POLL_S, Lock, is_alive, read_queue
from scripts.evidence.place import Place
from scripts.evidence.plan import make_plan
from scripts.evidence.priority import lower
from scripts.evidence.work import check_room, work
from snnrl.errors import UserError, exit_status


def start(place: Place, *, foreground: bool = False, retry: bool = False) -> None:
    """Start the queue, or resume it.

    The whole list is checked first. The queue then runs in a process of its own, which outlives the
    shell that started it.

    :param foreground: whether to run the queue in this process instead
    :param retry: whether to retry runs that failed twice with the same error
    :raises UserError: an entry of the list is invalid, a queue is already running, or the disk has
        too little space
    """
    lock = Lock(place.queue)
    lock.take()
    try:
        lock.write_queue({})
        check_room(place.folder)
        plan = make_plan(place, begin=True)

        def run_queue() -> None:
            lower(os.getpid())
            work(place, plan, lock, retry=retry)

        if foreground:
            run_queue()
            return
        log = place.queue / "queue.log"
        pid = _start_detached(run_queue, log)
    finally:
        # The queue's process still holds the lock.
        os.close(lock.handle)
    print(f"the queue has started: process {pid}, {plan.at_once} runs at a time, log {log}")


def stop(place: Place) -> None:
    """Ask the queue to save all runs and stop, and wait until it has.

    :raises UserError: no queue is running
    """
    lock = Lock(place.queue)
    queue = read_queue(place.queue)
    if not lock.is_held() or queue is None or not is_alive(queue["pid"]):
        raise UserError(
            f"{place.folder}: no queue is running there; expected a running one, or another "
            "EVIDENCE_DIR"
        )
    os.kill(queue["pid"], signal.SIGTERM)
    print("stopping: saving all runs", flush=True)
    while lock.is_held():
        time.sleep(POLL_S)
    print("stopped; start resumes from there")


def _start_detached(call: Callable[[], None], log: Path) -> int:
    """Make a call in a process without a terminal, whose output goes to ``log``.

    :return: the process id
    """
    sys.stdout.flush()
    with log.open("ab") as file:
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            with open(os.devnull, "rb") as nothing:
                os.dup2(nothing.fileno(), 0)
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            status = exit_status(call)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            status = 1
            traceback.print_exc()
        finally:
            os._exit(status)
