"""One run of a sweep, in this process or in a subprocess.

A subprocess that is killed ends no other run, starts with its own number of threads, and frees its
memory at the end. It runs ``python -m snnrl.experiment.sweep.job JOB``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment.signals import stop_on_signals
from snnrl.experiment.sweep.outcomes import Outcome, Status, Sweep
from snnrl.output import resilient_output

if TYPE_CHECKING:
    # A worker that only waits for a process does not need torch, which these import.
    from omegaconf import DictConfig

    from snnrl.experiment.run import Result


LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Job:
    """A pending run, as it is sent to a worker.

    :param sweep: folder of the sweep
    :param number: number of the run in the sweep
    :param overrides: command line of the run
    :param folder: the run folder
    :param threads: CPU threads
    :param cwd: working folder, to which ``results_dir`` may be relative
    :param command: name of the command, ``train`` or ``classify``
    """

    sweep: str
    number: int
    overrides: list[str]
    folder: str
    threads: int
    cwd: str
    command: str = "train"


def perform(cfg: DictConfig, overrides: list[str], sweep: Sweep, number: int) -> Result:
    """Execute one run and write its outcome.

    :raises: as :func:`snnrl.experiment.run.run`
    """
    from snnrl.experiment.folder.run_folder import RunFolder
    from snnrl.experiment.run import run

    folder = ""
    try:
        folder = str(RunFolder(cfg).path)
        result = run(cfg, overrides)
    except (Interrupted, KeyboardInterrupt) as stopped:
        reason = str(stopped) or "stopped at once"
        sweep.record(number, Outcome("interrupted", overrides, folder, reason))
        raise
    except (UserError, RunFailed) as problem:
        sweep.record(number, Outcome("failed", overrides, folder, str(problem)))
        raise
    except Exception as bug:
        first, _, _ = str(bug).partition("\n")
        reason = f"{type(bug).__name__}: {first}"
        sweep.record(number, Outcome("failed", overrides, folder, reason))
        traceback.print_exc()
        raise RunFailed(reason) from bug
    status: Status = "done" if result.trained else "skipped"
    sweep.record(number, Outcome(status, overrides, folder, "", result.final_return))
    return result


def perform_job(job: Job, *, dies_with_parent: bool) -> None:
    """Execute a job in this process; it stops when the sweep does.

    :param dies_with_parent: whether it saves and stops when the parent process is gone
    :raises: as :func:`snnrl.experiment.run.run`
    """
    from snnrl.experiment.config.compose import compose_config
    from snnrl.experiment.config.nodes import ROOTS

    sweep, parent = Sweep(Path(job.sweep)), os.getppid()

    def watch() -> int | None:
        if dies_with_parent and os.getppid() != parent:
            return signal.SIGTERM
        return sweep.stop_asked()

    # So that the run folder records how to reproduce this run on its own.
    sys.argv = [f"{job.command}.py", *job.overrides]
    with stop_on_signals(watch):
        cfg = compose_config(job.overrides, ROOTS[job.command])
        perform(cfg, job.overrides, sweep, job.number)


def perform_in_subprocess(job: Job, tell: Callable[[str], None] | None = None) -> None:
    """Execute a job in a subprocess; its output goes to the sweep's folder.

    :param tell: called with each line of the output, at most a second late
    """
    sweep = Sweep(Path(job.sweep))
    if sweep.stop_asked() is not None:
        return
    try:
        with sweep.log(job.number).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "snnrl.experiment.sweep.job", json.dumps(asdict(job))],
                cwd=job.cwd,
                env={**os.environ, "OMP_NUM_THREADS": str(job.threads), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the sweep, which then asks its runs to stop.
                start_new_session=True,
            )
            status = process.wait() if tell is None else _follow(process, log.name, tell)
    except OSError as problem:
        reason = f"cannot be started ({problem})"
        sweep.record(job.number, Outcome("failed", job.overrides, job.folder, reason))
        return
    if sweep.outcome(job.number) is None:
        sweep.record(job.number, unreported_outcome(job, status))


def _follow(process: subprocess.Popen[bytes], file: str, tell: Callable[[str], None]) -> int:
    """Wait for a process, and report every complete line that it adds to a file."""
    status, rest = None, ""
    with open(file, errors="replace") as lines:
        lines.seek(0, os.SEEK_END)
        while status is None:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(LOOK_EVERY_S)
            *whole, rest = (rest + lines.read()).split("\n")
            for line in whole:
                tell(line)
    return status


def unreported_outcome(job: Job, status: int | None = None) -> Outcome:
    """Return the outcome of a process that ended without a message.

    :param status: exit status, negative for a signal; None if unknown
    """
    how = "" if status is None else f" with status {status}"
    if status is not None and status < 0:
        how = f" by {signal.Signals(-status).name}"
        how += " (out of memory?)" if status == -signal.SIGKILL else ""
    if status == 0:
        how = " before it could record its outcome (a full disk?)"
    log = Sweep(Path(job.sweep)).log(job.number)
    reason = f"its process ended{how}; see {log if log.exists() else job.sweep}"
    return Outcome("interrupted", job.overrides, job.folder, reason)


if __name__ == "__main__":
    # The outcome holds all errors.
    with resilient_output(), suppress(UserError, RunFailed, Interrupted, KeyboardInterrupt):
        perform_job(Job(**json.loads(sys.argv[1])), dies_with_parent=True)
