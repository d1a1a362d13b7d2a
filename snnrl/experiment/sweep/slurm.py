"""Launchers with submitit: on SLURM, or locally."""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import abstractmethod
from typing import Any

from hydra.core.utils import env_override

from snnrl.errors import Interrupted, RunFailed, UserError
from snnrl.experiment.sweep.job import LOOK_EVERY_S, Job, perform_job
from snnrl.experiment.sweep.launchers import SweepLauncher
from snnrl.experiment.sweep.outcomes import Sweep

SLURM_OPTIONS = (
    "partition",
    "account",
    "qos",
    "constraint",
    "array_parallelism",
    "signal_delay_s",
)


class SubmititLauncher(SweepLauncher):
    """Execute runs as submitit jobs, which are requeued when preempted."""

    cluster: str

    def parameters(self, threads: int) -> dict[str, Any]:
        """Return submitit's parameters of each job."""
        options = self.options
        return {
            "timeout_min": options["timeout_min"],
            "cpus_per_task": threads,
            "gpus_per_node": options["gpus_per_node"],
        }

    def do(self, jobs: list[Job], sweep: Sweep) -> None:
        """Submit the jobs and wait."""
        executor = self.executor(sweep, max(job.threads for job in jobs))
        print(f"{len(jobs)} runs to do with submitit; their output: {sweep.folder}/submitit/*")
        waiting, running = list(jobs), dict[Any, Job]()
        while waiting or running:
            if sweep.stop_asked() is not None:
                waiting.clear()
                for handle in running:
                    if handle.state == "PENDING":
                        handle.cancel()
            free = self.limit(jobs) - len(running)
            now, waiting = waiting[:free], waiting[free:]
            if now:
                running |= dict(zip(self.submit(executor, now), now, strict=True))
            for handle in [handle for handle in running if handle.done()]:
                self.account(running.pop(handle), sweep, len(jobs))
            time.sleep(LOOK_EVERY_S)

    def executor(self, sweep: Sweep, threads: int) -> Any:
        """Return the submitit executor.

        :raises UserError: there is no such cluster, or it has no such option
        """
        import submitit

        timeouts = {f"{self.cluster}_max_num_timeout": self.options["max_num_timeout"]}
        folder = sweep.folder / "submitit" / "%j"
        try:
            executor = submitit.AutoExecutor(folder, cluster=self.cluster, **timeouts)
            executor.update_parameters(**self.parameters(threads))
        except (RuntimeError, NameError, ValueError, AssertionError) as problem:
            first, _, _ = str(problem).partition("\n")
            raise UserError(f"hydra/launcher=submitit_{self.cluster}: {first}") from None
        return executor

    @abstractmethod
    def limit(self, jobs: list[Job]) -> int:
        """Return the most jobs that submitit holds at once."""

    def submit(self, executor: Any, jobs: list[Job]) -> list[Any]:
        """Submit some jobs and return submitit's handles of them."""
        return [executor.submit(SubmititJob(job)) for job in jobs]


class SubmititLocalLauncher(SubmititLauncher):
    """Local executor of submitit: to test a sweep before it runs on a cluster."""

    cluster = "local"

    def parameters(self, threads: int) -> dict[str, Any]:
        return {**super().parameters(threads), "local_setup": list(self.options["setup"] or ())}

    def limit(self, jobs: list[Job]) -> int:
        return self.at_once(jobs)

    def submit(self, executor: Any, jobs: list[Job]) -> list[Any]:
        threads = {"OMP_NUM_THREADS": str(max(job.threads for job in jobs))}
        # Its processes share this terminal: a Ctrl-C would make them kill their runs.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with env_override(threads):
                return super().submit(executor, jobs)
        finally:
            signal.signal(signal.SIGINT, handler)


class SubmititSlurmLauncher(SubmititLauncher):
    """Execute runs as SLURM jobs."""

    cluster = "slurm"

    def parameters(self, threads: int) -> dict[str, Any]:
        options = self.options
        chosen = {key: options[key] for key in SLURM_OPTIONS if options[key] is not None}
        chosen["additional_parameters"] = {"requeue": True, **options["additional_parameters"]}
        chosen["setup"] = [f"export OMP_NUM_THREADS={threads}", *(options["setup"] or ())]
        return {
            **super().parameters(threads),
            "mem_gb": options["mem_gb"],
            **{f"slurm_{key}": value for key, value in chosen.items()},
        }

    def limit(self, jobs: list[Job]) -> int:
        return len(jobs)

    def submit(self, executor: Any, jobs: list[Job]) -> list[Any]:
        with executor.batch():  # One job array.
            return super().submit(executor, jobs)


class SubmititJob:
    """A job as submitit pickles it; after requeueing it resumes from the run's checkpoint."""

    def __init__(self, job: Job):
        self.job = job

    def __call__(self) -> None:
        """Execute the job; its outcome is in the sweep's folder."""
        try:
            perform_job(self.job, dies_with_parent=False)
        except (UserError, RunFailed):
            return
        except Interrupted as interrupted:
            if interrupted.signal_number in (signal.SIGUSR1, signal.SIGUSR2):
                # The run is saved. submitit's own handler, restored by now, requeues the job.
                name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
                signal.raise_signal(getattr(signal, f"SIG{name}"))
            # No result: SLURM itself requeues jobs that it preempts with SIGTERM.
            sys.exit(128 + interrupted.signal_number)

    def checkpoint(self) -> Any:
        """Return what submitit requeues: the same job."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
