"""Jobs that an earlier version has queued, and this one takes up."""

from __future__ import annotations

import inspect
import pickle
import sys

import pytest

from snnrl.experiment.sweep.job import Job
from snnrl.experiment.sweep.slurm import SubmititJob

JOB = Job("sweeps/one", 3, ["seed=3"], "runs/seed-3", 2, ".")


def as_queued_before(job: SubmititJob) -> bytes:
    """The job as it was pickled when both classes were in modules beside the run's."""
    text = pickle.dumps(job, protocol=0)
    for now, before in (
        (b"csnnrl.experiment.sweep.job\n", b"csnnrl.experiment.sweep_job\n"),
        (b"csnnrl.experiment.sweep.slurm\n", b"csnnrl.experiment.sweep_submitit\n"),
    ):
        assert now in text
        text = text.replace(now, before)
    return text


def test_a_queued_job_is_the_same_job() -> None:
    queued = pickle.loads(as_queued_before(SubmititJob(JOB)))
    assert type(queued) is SubmititJob
    assert queued.job == JOB


def test_what_was_never_there_is_missing() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        pickle.loads(b"csnnrl.experiment.sweep_job\nNothing\n.")


@pytest.mark.parametrize("name", ["sweep_job", "sweep_submitit"])
def test_an_earlier_name_is_no_module_of_a_file(name: str) -> None:
    earlier = sys.modules[f"snnrl.experiment.{name}"]
    assert not hasattr(earlier, "__file__")
    module = inspect.getmodule(SubmititJob.__call__.__code__)
    assert module is not None
    assert module.__name__ == SubmititJob.__module__
