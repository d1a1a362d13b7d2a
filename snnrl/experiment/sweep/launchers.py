"""Launchers: who does the runs of a sweep. Hydra finds them through ``hydra_plugins``.

The plugins ``hydra-joblib-launcher`` and ``hydra-submitit-launcher`` give up a whole sweep when
one process is killed, and ``hydra-ray-launcher`` asks for a ``cloudpickle`` that Gymnasium and
Stable-Baselines3 have left behind; so these use processes, submitit and Ray themselves.
"""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import sys
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.progress import is_evaluation
from snnrl.experiment.sweep.job import LOOK_EVERY_S, Job, ended_alone, perform, perform_apart
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, distinguish

EXTRAS = {
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""Launcher -> the library that it needs, which is also the name of the extra that brings it."""


def check_launcher(name: str) -> None:
    """Check that a launcher of this package has its library.

    :raises UserError: it is not installed
    """
    extra = EXTRAS.get(name)
    if extra is not None and importlib.util.find_spec(extra) is None:
        raise UserError(
            f"hydra/launcher={name}: {extra} is not installed; pip install 'snnrl[{extra}]'"
        )


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class SweepLauncher(Launcher):
    """What all launchers share: runs that are done need no worker; outcomes come from the folder.

    :param options: of the launcher, from ``configs/hydra/launcher/``
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config = DictConfig({})
        self._counter = count(1)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what Hydra hands over."""
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Do the runs; the value of each, NaN if it is not done.

        :raises UserError: an option of the launcher that does not fit
        """
        n_jobs = self.options.get("n_jobs")
        if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs < 1):
            raise UserError(
                f"hydra.launcher.n_jobs={n_jobs}: expected a number of runs at a time, or null"
            )
        sweep = Sweep(Path(self.config.hydra.sweep.dir).absolute())
        sweep.folder.mkdir(parents=True, exist_ok=True)
        numbered = list(enumerate(job_overrides, initial_job_idx))
        jobs = [job for n, texts in numbered if (job := _job_to_do(sweep, n, list(texts)))]
        if jobs:
            self.do(jobs, sweep)
        return [_job_return(texts, sweep.outcome(n)) for n, texts in numbered]

    @abstractmethod
    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Do the jobs; each leaves its outcome in the sweep's folder."""

    def account(self, job: Job, sweep: Sweep, total: int) -> None:
        """Say what came of a job that has ended; one that left no outcome was killed.

        :param total: of how many it is one
        """
        outcome = sweep.outcome(job.number)
        if outcome is None:
            if sweep.stop_asked() is not None:
                return
            outcome = ended_alone(job)
            sweep.record(job.number, outcome)
        result = outcome.reason or f"return {outcome.final_return:.1f}"
        _say(f"{next(self._counter)} of {total}: {outcome.status}: {job.folder}: {result}")

    def at_once(self, jobs: list[Job]) -> int:
        """How many runs this machine does at a time: ``n_jobs``, or what its cores carry."""
        # More than there are runs would only be threads that wait.
        carried = max(1, cores() // max(job.threads for job in jobs))
        return min(self.options["n_jobs"] or carried, len(jobs))


class JoblibLauncher(SweepLauncher):
    """Several runs at a time on this machine, each in a process of its own.

    It has the name that Hydra's users know for this, and needs no joblib.
    """

    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Do the jobs; a thread waits for each process."""
        n_jobs = self.at_once(jobs)
        print(f"{len(jobs)} runs to do, {n_jobs} at a time; their output: {sweep.folder}/*.log")
        names = distinguish([job.overrides for job in jobs])
        with ThreadPoolExecutor(n_jobs) as threads:
            done = [
                threads.submit(self._do_one, job, name, sweep, len(jobs))
                for job, name in zip(jobs, names, strict=True)
            ]
            for each in done:
                each.result()

    def _do_one(self, job: Job, name: str, sweep: Sweep, total: int) -> None:
        def tell(line: str) -> None:
            if is_evaluation(line):
                _say(f"{name}: {line.strip()}")

        if sweep.stop_asked() is None:
            _say(f"{name}: begins")
        perform_apart(job, tell)
        self.account(job, sweep, total)


class RayLauncher(SweepLauncher):
    """Runs on the machines of a Ray cluster, which share the folder of the results."""

    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Hand the jobs to the cluster and wait."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        # Ray takes SIGTERM for itself, which is the sweep's.
        handler = signal.getsignal(signal.SIGTERM)
        address = self.options["address"]
        alone = (
            {} if address else {"num_cpus": self.options["num_cpus"], "include_dashboard": False}
        )
        try:
            ray.init(address=address or "local", log_to_driver=False, **alone)
        except (ConnectionError, ValueError) as problem:
            first, _, _ = str(problem).partition("\n")
            raise UserError(f"hydra.launcher.address={address}: {first}") from None
        signal.signal(signal.SIGTERM, handler)
        print(f"{len(jobs)} runs to do with Ray; their output: {sweep.folder}/*.log")
        work = ray.remote(max_retries=0)(perform_apart)
        try:
            tasks = {
                work.options(num_cpus=job.threads, num_gpus=self.options["gpus_per_run"]).remote(
                    job
                ): job
                for job in jobs
            }
            while tasks:
                ended, _ = ray.wait(list(tasks), timeout=LOOK_EVERY_S)
                for task in ended:
                    self.account(tasks.pop(task), sweep, len(jobs))
        finally:
            ray.shutdown()


def _say(line: str) -> None:
    # In one piece: print() writes the end of the line by itself, and others may write in between.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _job_to_do(sweep: Sweep, number: int, overrides: list[str]) -> Job | None:
    """The job, unless its run is done: then its outcome is written at once."""
    # Hydra imports this module for every command, and ``--help`` has no use for pandas and torch.
    from snnrl.experiment.folder.run_folder import RunFolder

    cfg = compose_config(overrides)
    path = ""
    with suppress(UserError):  # what cannot be read is the run's to tell
        folder = RunFolder(cfg)
        path = str(folder.path)
        if (folder.finished_steps() or -1) >= cfg.total_steps:
            perform(cfg, overrides, sweep, number)
            return None
    return Job(str(sweep.folder), number, overrides, path, cfg.threads, os.getcwd())


def _job_return(overrides: Sequence[str], outcome: Outcome | None) -> JobReturn:
    value = math.nan if outcome is None else outcome.final_return
    return JobReturn(
        overrides, status=JobStatus.COMPLETED, _return_value=math.nan if value is None else value
    )
