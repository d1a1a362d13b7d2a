"""The queue, which executes the runs of the list in parallel, each in a process of its clone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from scripts.evidence.clones import environment, python_of
from scripts.evidence.lock import Lock
from scripts.evidence.place import Place
from scripts.evidence.plan import Plan, Planned, readable
from scripts.evidence.priority import lower
from scripts.evidence.states import is_done
from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment.signals import StopRequest, stop_on_signals
from snnrl.experiment.sweep.job import Job, unreported_outcome
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, count

POLL_S = 0.5

RETRY = "retry=true"
"""Setting that retries a run that failed twice with the same error."""

ROOM_BYTES = 2 * 10**9
"""Space that a run and its checkpoints may take; with less free on the disk no run starts."""


def as_clones_take_it(job: Job) -> dict[str, Any]:
    """Return the fields of a run without those at their default: the code of a clone is that of its
    tag, which may not have fields that came later."""
    given = {field.name: (getattr(job, field.name), field.default) for field in fields(job)}
    return {name: value for name, (value, default) in given.items() if value != default}


class Running(NamedTuple):
    """A run in progress and its process."""

    planned: Planned
    job: Job
    process: subprocess.Popen[bytes]


def work(place: Place, plan: Plan, lock: Lock, *, retry: bool = False) -> None:
    """Execute the unfinished runs of the list, in order; each is started once.

    Runs that are done are skipped. A run that extends another waits until that one is done. On a
    signal all runs save themselves and stop.

    :param lock: lock that is held; runs inherit it
    :param retry: whether to retry runs that failed twice with the same error
    :raises RunFailed: not every run is done
    :raises UserError: the disk is nearly full; raised after the runs in progress have ended
    :raises Interrupted: a signal arrived
    """
    queue = Queue(place, plan, lock, retry)
    with stop_on_signals() as stop:
        queue.work(stop)
    outcomes = queue.sweep.outcomes()
    done = sum(is_done(planned.path, planned.entry.steps) for planned in plan.runs)
    ended = count(outcomes, len(outcomes))
    say(f"{done} of {len(plan.runs)} runs are done; in this start {ended}")
    if stop.signal_number is not None:
        raise Interrupted("stopped; start resumes from there", stop.signal_number)
    if queue.too_full is not None:
        raise queue.too_full
    if done < len(plan.runs):
        raise RunFailed("not every run is done; the lines above say why")


class Queue:
    """Waiting runs and runs in progress; see :func:`work` for the parameters."""

    def __init__(self, place: Place, plan: Plan, lock: Lock, retry: bool):
        self.place = place
        self.extra = [RETRY] if retry else []
        self.lock = lock
        self.at_once = plan.at_once
        self.left = list(plan.runs)
        self.running: list[Running] = []
        self.sweep = Sweep(place.queue)
        self.sweep.begin()
        self.too_full: UserError | None = None
        self._write_queue()

    def work(self, stop: StopRequest) -> None:
        """Start and watch runs until none is in progress and none can start."""
        told, changed = False, True
        while True:
            changed |= self._report_ended()
            if stop.signal_number is not None and not told:
                told = True
                say("stopping: saving all runs")
                for running in self.running:
                    running.process.terminate()
            if stop.signal_number is None and changed:
                self._begin()
                changed = False
            if not self.running:
                return
            time.sleep(POLL_S)

    def _begin(self) -> None:
        """Start runs up to the number in parallel, while the disk has space for them."""
        while len(self.running) < self.at_once and not self.too_full:
            planned = self._next()
            if planned is None:
                return
            try:
                check_room(self.place.folder)
            except UserError as problem:
                self.too_full = problem
                say(str(problem))
                return
            self.left.remove(planned)
            self._start(planned)
            self._write_queue()

    def _next(self) -> Planned | None:
        """Return the first run of the list that can start, or None."""
        for planned in list(self.left):
            if is_done(planned.path, planned.entry.steps):
                self.left.remove(planned)
            elif planned.extends is None or is_done(planned.path, planned.extends.steps):
                return planned
        return None

    def _start(self, planned: Planned) -> None:
        entry = planned.entry
        clone = self.place.clone(entry.tag)
        overrides, folder = [*planned.overrides, *self.extra], planned.folder
        job = Job(str(self.sweep.folder), entry.number, overrides, folder, 1, str(clone))
        asked = json.dumps({**as_clones_take_it(job), "parent": os.getpid()})
        try:
            python = python_of(self.place, entry.tag)
            with self.sweep.log(entry.number).open("w") as log:
                process = subprocess.Popen(
                    [python, "-m", "scripts.evidence.inside", "run", asked],
                    cwd=clone,
                    env=environment(clone),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # So that Ctrl-C reaches only the queue, which then stops its runs.
                    start_new_session=True,
                    pass_fds=[self.lock.handle],
                )
            lower(process.pid)
        except (OSError, UserError) as problem:
            reason = f"cannot be started ({problem})"
            self.sweep.record(entry.number, Outcome("failed", overrides, folder, reason))
            say(f"run {entry.number}: failed: {planned.name}: {reason}")
            return
        self.running.append(Running(planned, job, process))
        say(f"run {entry.number}: started: {planned.name}, to {entry.steps:,} steps")

    def _report_ended(self) -> bool:
        """Report the outcome of every run that has ended.

        :return: whether there was one
        """
        before = len(self.running)
        for running in list(self.running):
            status = running.process.poll()
            if status is None:
                continue
            self.running.remove(running)
            number = running.job.number
            outcome = self.sweep.outcome(number)
            if outcome is None:
                outcome = unreported_outcome(running.job, status)
                self.sweep.record(number, outcome)
            came = readable(self.place, outcome.reason) or f"return {outcome.final_return:.1f}"
            say(f"run {number}: {outcome.status}: {running.planned.name}: {came}")
            self._write_queue()
        return len(self.running) < before

    def _write_queue(self) -> None:
        self.lock.write_queue({run.process.pid: run.planned.overrides for run in self.running})


def say(line: str) -> None:
    """Print a line of the queue's log, with the time."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk may end runs, but not the queue
        print(f"{now} {line}", flush=True)


def check_room(folder: Path) -> None:
    """Check that the disk has space for a run.

    :raises UserError: less than :data:`ROOM_BYTES` is free
    """
    free = shutil.disk_usage(folder).free
    if free < ROOM_BYTES:
        raise UserError(
            f"{folder}: {free / 1e9:.1f} GB free, expected {ROOM_BYTES / 1e9:.0f} GB for a run; "
            "nothing is lost, start resumes from there"
        )
