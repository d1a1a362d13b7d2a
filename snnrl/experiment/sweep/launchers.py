"""Launchers that execute the runs of a sweep. Hydra finds them through ``hydra_plugins``.

The plugins ``hydra-joblib-launcher`` and ``hydra-submitit-launcher`` abandon a whole sweep when one
process is killed. ``hydra-ray-launcher`` requires a version of ``cloudpickle`` too old for
Gymnasium and Stable-Baselines3. So these launchers use processes, submitit and Ray directly.
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
from snnrl.experiment.config.nodes import ROOTS, Root
from snnrl.experiment.progress import is_evaluation
from snnrl.experiment.sweep.job import (
    LOOK_EVERY_S,
    Job,
    perform,
    perform_in_subprocess,
    unreported_outcome,
)
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, distinguish
from snnrl.experiment.threads import cores, threads_of_job
from snnrl.run_format.settings import measure

EXTRAS = {
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}
"""Launcher -> the library that it needs, which is also the name of its extra."""


def check_launcher(name: str) -> None:
    """Check that the library of one of this package's launchers is installed.

    :raises UserError: it is not installed
    """
    extra = EXTRAS.get(name)
    if extra is not None and importlib.util.find_spec(extra) is None:
        raise UserError(
            f"hydra/launcher={name}: {extra} is not installed; pip install 'snnrl[{extra}]'"
        )


class SweepLauncher(Launcher):
    """Base class of the launchers: finished runs need no worker; outcomes come from the folder.

    :param options: options of the launcher, from ``configs/hydra/launcher/``
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.config = DictConfig({})
        self.measure = "return"
        self._counter = count(1)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store the objects that Hydra passes in."""
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Execute the runs and return the value of each, NaN if it did not finish.

        :raises UserError: an option of the launcher does not fit
        """
        n_jobs = self.options.get("n_jobs")
        if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs < 1):
            raise UserError(
                f"hydra.launcher.n_jobs={n_jobs}: expected a number of runs at a time, or null"
            )
        sweep = Sweep(Path(self.config.hydra.sweep.dir).absolute())
        sweep.folder.mkdir(parents=True, exist_ok=True)
        numbered = list(enumerate(job_overrides, initial_job_idx))
        root = ROOTS[self.config.hydra.job.config_name]
        self.measure = measure(self.config)
        jobs = [job for n, texts in numbered if (job := _job_to_do(sweep, n, list(texts), root))]
        if jobs:
            self.do(jobs, sweep)
        return [_job_return(texts, sweep.outcome(n)) for n, texts in numbered]

    @abstractmethod
    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Execute the jobs; each writes its outcome to the sweep's folder."""

    def account(self, job: Job, sweep: Sweep, total: int) -> None:
        """Report the outcome of a finished job; one without an outcome was killed.

        :param total: number of jobs
        """
        outcome = sweep.outcome(job.number)
        if outcome is None:
            if sweep.stop_asked() is not None:
                return
            outcome = unreported_outcome(job)
            sweep.record(job.number, outcome)
        result = outcome.reason or f"{self.measure} {outcome.final_return:.1f}"
        _say(f"{next(self._counter)} of {total}: {outcome.status}: {job.folder}: {result}")

    def at_once(self, jobs: list[Job]) -> int:
        """Return how many runs this machine executes in parallel: ``n_jobs``, or as many as its
        cores allow."""
        threads = max(job.threads for job in jobs)
        carried = max(1, cores() // threads)
        at_once = min(self.options["n_jobs"] or carried, len(jobs))
        if at_once * threads > max(cores(), threads):
            _say(
                f"n_jobs={at_once}, threads={threads}: there are {cores()} cores, which carry "
                f"{carried} at a time; more only wait"
            )
        return at_once


class JoblibLauncher(SweepLauncher):
    """Execute several runs in parallel on this machine, each in a subprocess.

    It has the name that Hydra's users know, and does not need joblib.
    """

    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Execute the jobs; a thread waits for each process."""
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
            _say(f"{name}: started")
        perform_in_subprocess(job, tell)
        self.account(job, sweep, total)


class RayLauncher(SweepLauncher):
    """Execute runs on the machines of a Ray cluster, which share the results folder."""

    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Submit the jobs to the cluster and wait."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        # Ray handles SIGTERM itself, but the sweep needs it.
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
        work = ray.remote(max_retries=0)(perform_in_subprocess)
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
    # One write: print() writes the newline separately, and other output may come in between.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _job_to_do(sweep: Sweep, number: int, overrides: list[str], root: Root) -> Job | None:
    """Return the job; if its run is done, write its outcome at once instead.

    :param root: the command
    """
    # Hydra imports this module for every command, and ``--help`` needs neither pandas nor torch.
    from snnrl.experiment.folder.run_folder import RunFolder

    cfg = compose_config(overrides, root)
    path = ""
    with suppress(UserError):  # The run itself reports an unreadable file.
        folder = RunFolder(cfg)
        path = str(folder.path)
        if (folder.finished_steps() or -1) >= cfg.total_steps:
            perform(cfg, overrides, sweep, number)
            return None
    cwd = os.getcwd()
    return Job(str(sweep.folder), number, overrides, path, threads_of_job(cfg), cwd, root.name)


def _job_return(overrides: Sequence[str], outcome: Outcome | None) -> JobReturn:
    value = math.nan if outcome is None else outcome.final_return
    return JobReturn(
        overrides, status=JobStatus.COMPLETED, _return_value=math.nan if value is None else value
    )
