"""Launchers: what they refuse, and that whoever does a run, it is the same run."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.sweep import launchers
from snnrl.experiment.sweep.job import Job, perform_in_subprocess
from snnrl.experiment.sweep.launchers import EXTRAS, JoblibLauncher
from snnrl.experiment.sweep.outcomes import Outcome, Sweep
from snnrl.experiment.sweep.slurm import SubmititJob
from snnrl.train import main
from tests.experiment.helpers import (
    arguments,
    assert_same,
    folder_of,
    parameters,
    rows_of,
    train,
)

TOP = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train"])


def sweep(results_dir: Path, launcher: str, *more: str) -> int:
    return main(["-m", *arguments(results_dir, "seed=0,1"), f"hydra/launcher={launcher}", *more])


# What is refused


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("launcher", EXTRAS)
def test_a_launcher_whose_library_is_missing(
    launcher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    extra = EXTRAS[launcher]
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == extra else find(name, *a)
    )
    assert sweep(tmp_path / "results", launcher) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: hydra/launcher={launcher}: {extra} is not installed")
    assert line.endswith(f"pip install 'snnrl[{extra}]'")
    assert list(tmp_path.iterdir()) == []


def test_every_launcher_has_a_config_that_says_what_it_needs() -> None:
    configs = {path.stem for path in (TOP / "configs/hydra/launcher").glob("*.yaml")}
    assert configs == {"joblib", *EXTRAS}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("arguments_", "words"),
    [
        (["hydra/launcher=jobli"], "hydra/launcher=jobli: no such choice, or not installed; did"),
        (["hydra/launcher=joblib", "hydra.launcher.njobs=2"], "hydra.launcher.njobs"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs=0: expected a number of"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=x"], "n_jobs=x: expected a number of"),
        (["hydra/launcher=submitit_slurm"], "hydra/launcher=submitit_slurm: "),
    ],
)
def test_a_launcher_that_cannot_be(
    arguments_: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", *arguments(tmp_path, "seed=0,1"), *arguments_]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not list(tmp_path.rglob("seed-*"))


# Who does what


def job(sweep: Sweep, number: int = 0, threads: int = 1) -> Job:
    return Job(str(sweep.folder), number, [f"seed={number}"], "folder", threads, str(TOP))


@pytest.mark.parametrize(
    ("cores", "threads", "n_jobs", "expected"),
    [
        (8, 1, None, 8),
        (8, 3, None, 2),
        (2, 4, None, 1),
        (8, 1, 3, 3),
        (2, 1, 4, 4),
        (8, 4, 8, 8),
        (8, 4, 2, 2),
    ],
)
def test_as_many_runs_at_a_time_as_the_cores_carry(
    cores: int,
    threads: int,
    n_jobs: int | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(launchers, "cores", lambda: cores)
    jobs = [job(Sweep(tmp_path), number, threads) for number in range(9)]
    assert JoblibLauncher(n_jobs=n_jobs).at_once(jobs) == expected
    crowded = expected > 1 and expected * threads > cores
    assert ("more only wait" in capsys.readouterr().out) == crowded


@pytest.mark.slow
def test_what_is_done_needs_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "seed=0") == 0
    asked = []

    def perform(job: Job, tell: Any) -> None:
        asked.append(job)
        outcome = Outcome("failed", job.overrides, job.folder, "ValueError: no")
        Sweep(Path(job.sweep)).record(job.number, outcome)

    monkeypatch.setattr(launchers, "perform_in_subprocess", perform)
    capsys.readouterr()
    assert sweep(tmp_path, "joblib", "threads=1") == 1
    out, err = capsys.readouterr()
    (one,) = asked
    assert one.overrides[-2:] == ["seed=1", "threads=1"]
    assert one.folder == str(folder_of(tmp_path, "seed=1").path)
    assert one.cwd == os.getcwd()
    assert "1 runs to do" in out
    assert f"1 of 1: failed: {one.folder}: ValueError: no" in out
    assert out.splitlines()[-1] == "2 runs: 1 skipped, 1 failed"
    assert err.splitlines()[0] == f"failed: seed=1: ValueError: no ({one.folder})"


class Ended:
    """In place of a process."""

    status = 0
    environment: dict[str, str]

    def __init__(self, command: list[str], **options: Any):
        Ended.environment = options["env"]

    def wait(self) -> int:
        return self.status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-9, "ended by SIGKILL (out of memory?)"),
        (-11, "by SIGSEGV;"),
        (1, "with status 1;"),
        (0, "ended before it could record its outcome (a full disk?);"),
    ],
)
def test_a_process_that_ends_without_a_word(
    status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", Ended)
    monkeypatch.setattr(Ended, "status", status)
    sweep = Sweep(tmp_path)
    perform_in_subprocess(job(sweep, 3, threads=2))
    outcome = sweep.outcome(3)
    assert outcome is not None
    assert (outcome.status, outcome.folder) == ("interrupted", "folder")
    assert words in outcome.reason
    assert str(sweep.folder) in outcome.reason
    assert Ended.environment["OMP_NUM_THREADS"] == "2"


def test_no_process_begins_after_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: Any, **__: Any) -> None:
        raise AssertionError("a process began")

    monkeypatch.setattr(subprocess, "Popen", begin)
    sweep = Sweep(tmp_path)
    sweep.ask_to_stop(15)
    perform_in_subprocess(job(sweep))
    assert sweep.outcomes() == []


@pytest.mark.slow
def test_what_slurm_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = {
        "srun": "exit 1",
        "sbatch": f'cat "$1" > {tmp_path}/script; echo Submitted batch job 12',
        "sacct": "echo 'JobID|State|NodeList'; echo '12_0|FAILED|a'; echo '12_1|FAILED|a'",
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = ["partition=long", "signal_delay_s=90", "setup=[echo set-up]", "timeout_min=30"]
    options = [f"hydra.launcher.{text}" for text in options]
    assert sweep(tmp_path / "results", "submitit_slurm", *options, "threads=3") == 1
    script = (tmp_path / "script").read_text()
    for line in (
        "--partition=long",
        "--signal=USR2@90",
        "--cpus-per-task=3",
        "--array=0-1%2",
        "--time=30",
        "--requeue",
        "--open-mode=append",
    ):
        assert f"#SBATCH {line}\n" in script
    assert "export OMP_NUM_THREADS=3\necho set-up\n" in script
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 2 interrupted"


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Signals that reach whoever handled SIGUSR2 before the run did."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_preempted_job_saves_itself_and_is_queued_again(
    number: signal.Signals, tmp_path: Path, handled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnrl.experiment.progress import Progress

    def preempt(progress: Progress, step: int, *_: float) -> None:
        if step == 50:
            signal.raise_signal(number)

    monkeypatch.delenv("SUBMITIT_PREEMPT_SIGNAL", raising=False)
    monkeypatch.setattr(Progress, "evaluated", preempt)
    monkeypatch.setattr("snnrl.experiment.run.seconds_for", lambda *_: 1.0)
    folder = folder_of(tmp_path)
    overrides = arguments(tmp_path)
    again = SubmititJob(Job(str(tmp_path / "s"), 0, overrides, str(folder.path), 1, "."))
    with pytest.raises(SystemExit) as ended:
        again()
    assert ended.value.code == 128 + number
    # submitit's handler queues the job again; after SIGTERM SLURM does.
    assert handled == ([] if number == signal.SIGTERM else [signal.SIGUSR2])
    assert (folder.checkpoint).exists()
    assert folder.finished_steps() is None
    monkeypatch.setattr(Progress, "evaluated", lambda *_: None)
    again.checkpoint().function()
    assert folder.finished_steps() == 100
    outcome = Sweep(tmp_path / "s").outcome(0)
    assert outcome is not None
    assert outcome.status == "done"


# The whole of it, with processes


def assert_same_runs(one: RunFolder, other: RunFolder) -> None:
    for table in ("evaluations", "statistics_error"):
        assert rows_of(one, table) == rows_of(other, table)
    clocks = ("time/fps", "time/time_elapsed")
    rows = [
        [{k: v for k, v in row.items() if k not in clocks} for row in rows_of(folder, "progress")]
        for folder in (one, other)
    ]
    assert rows[0] == rows[1]
    assert {p.name for p in one.path.iterdir()} == {p.name for p in other.path.iterdir()}
    kept = [yaml.safe_load((f.path / "overrides.yaml").read_text()) for f in (one, other)]
    ours, theirs = [[text for text in texts if "results_dir" not in text] for texts in kept]
    assert ours == theirs
    for name in ("model.zip", "best_model.zip"):
        assert_same(parameters(one.path / name), parameters(other.path / name))


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_whoever_does_a_run_it_is_the_same_run(
    launcher: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = ["hydra.launcher.num_cpus=2"] if launcher == "ray" else []
    assert sweep(tmp_path / "apart", launcher, *more) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "2 runs: 2 done"
    assert sweep(tmp_path / "serial", "basic") == 0
    for seed in ("seed=0", "seed=1"):
        assert_same_runs(folder_of(tmp_path / "apart", seed), folder_of(tmp_path / "serial", seed))
    assert sweep(tmp_path / "apart", launcher, *more) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "2 runs: 2 skipped"


LONG = ("total_steps=3000", "evaluation.every=100", "checkpoint.every=3000")


def start(results_dir: Path, launcher: str) -> subprocess.Popen[str]:
    command = ["-m", *arguments(results_dir, *LONG, "seed=0,1,2"), f"hydra/launcher={launcher}"]
    return subprocess.Popen(
        [sys.executable, "-m", "snnrl.train", *command, "hydra.launcher.n_jobs=2"],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(results_dir: Path, name: str, number: int) -> list[Path]:
    """Wait until so many files of a name are there."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        found = sorted(results_dir.rglob(name))
        if len(found) >= number:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {number} of {name}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_signal_saves_all_runs_and_ends_the_sweep(
    launcher: str, number: signal.Signals, tmp_path: Path
) -> None:
    process = start(tmp_path, launcher)
    wait_for(tmp_path, "evaluations.csv", 2)
    # As a terminal does: to all processes that are the terminal's.
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert out.splitlines()[-1] == "3 runs: 2 interrupted, 1 not started"
    interrupted = [line for line in err.splitlines() if line.startswith("interrupted: ")]
    assert len(interrupted) == 2
    assert all("and saved; the same command resumes" in line for line in interrupted)
    assert len(list(tmp_path.rglob("state.pt"))) == 2


@pytest.mark.slow
def test_a_sweep_that_is_killed_leaves_no_run_behind(tmp_path: Path) -> None:
    process = start(tmp_path, "joblib")
    wait_for(tmp_path, "evaluations.csv", 2)
    process.kill()
    process.communicate(timeout=200)
    # Its runs notice, save themselves and end.
    assert len(wait_for(tmp_path, "*.outcome", 2)) == 2
    assert len(list(tmp_path.rglob("state.pt"))) == 2
    assert not list(tmp_path.rglob("DONE"))


def tasks_of(results_dir: Path) -> dict[int, list[str]]:
    """Processes that do a job of submitit for these results."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_text().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and str(results_dir) in words[-2]:
            found[int(entry.parent.name)] = words
    return found


@pytest.mark.slow
def test_submitit_goes_on_with_what_is_preempted(tmp_path: Path) -> None:
    settings = ("total_steps=1000", *LONG[1:])
    command = ["-m", *arguments(tmp_path, *settings), "hydra/launcher=submitit_local"]
    process = subprocess.Popen(
        [sys.executable, "-m", "snnrl.train", *command],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(tmp_path, "evaluations.csv", 1)
    (task,) = tasks_of(tmp_path)
    os.kill(task, signal.SIGUSR1)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert out.splitlines()[-1] == "1 runs: 1 done"
    (log,) = tmp_path.rglob("*_log.out")
    assert "resuming from step" in log.read_text()
    assert train(tmp_path / "alone", *settings) == 0
    assert_same_results(folder_of(tmp_path, *settings), folder_of(tmp_path / "alone", *settings))


def assert_same_results(one: RunFolder, other: RunFolder) -> None:
    for table in ("evaluations", "statistics_error"):
        assert rows_of(one, table) == rows_of(other, table)
    assert_same(parameters(one.model), parameters(other.model))
