"""What a person sees while a run, or a sweep, goes on."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import pytest

from snnrl.experiment.progress import Progress, is_evaluation
from snnrl.experiment.sweep.job import Job, perform_in_subprocess
from snnrl.experiment.sweep.launchers import JoblibLauncher
from snnrl.experiment.sweep.outcomes import Outcome, Sweep, distinguish
from snnrl.experiment.time_left import TimeLeft
from tests.experiment.helpers import train


class Clock:
    """Seconds that pass where a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def pass_by(left: TimeLeft, clock: Clock, start: int, stop: int, pace: float) -> list[float | None]:
    """The seconds left after each tenth of some steps, each of which takes ``pace`` seconds."""
    shown = []
    for tenth in range(1, 11):
        clock.seconds += (stop - start) / 10 * pace
        shown.append(left.at(start + (stop - start) * tenth // 10))
    return shown


def test_random_steps_say_nothing_of_the_others() -> None:
    """Once 1,000 quick steps of 10,000 meant that 9,000 quick ones were left."""
    clock = Clock()
    left = TimeLeft(10_000, 1_000, estimate=900.0, clock=clock)
    assert left.at(0) == 900
    clock.seconds += 5  # an evaluation before the first step
    left.at(1)
    for seconds in pass_by(left, clock, 1, 1_000, 0.001):
        assert seconds == pytest.approx(895, abs=1.1)
    # Then each takes a tenth of a second, as was said.
    shown = pass_by(left, clock, 1_000, 10_000, 0.1)
    expected = [900 - 90 * tenth for tenth in range(1, 11)]
    assert shown == pytest.approx(expected, abs=6)


@pytest.mark.parametrize("pace", [0.02, 0.1, 0.5])
def test_what_is_seen_wins_over_the_estimate(pace: float) -> None:
    clock = Clock()
    left = TimeLeft(10_000, estimate=1_000.0, clock=clock)
    shown = pass_by(left, clock, 0, 10_000, pace)
    assert shown[0] != pytest.approx(9_000 * pace, rel=0.01) or pace == 0.1
    for tenth, seconds in enumerate(shown[4:-1], start=5):
        assert seconds == pytest.approx((10 - tenth) * 1_000 * pace, rel=0.5)
    assert shown[-1] == 0


def test_random_steps_that_are_slow() -> None:
    clock = Clock()
    left = TimeLeft(200, 100, estimate=10.0, clock=clock)
    left.at(1)
    clock.seconds += 49
    assert left.at(50) == pytest.approx(50)


def test_without_an_estimate() -> None:
    """A run that is resumed has none."""
    clock = Clock()
    left = TimeLeft(1_000, 100, start=50, clock=clock)
    clock.seconds += 1
    assert left.at(60) is None
    left.at(100)
    clock.seconds += 10
    assert left.at(110) == pytest.approx(890)
    in_training = TimeLeft(1_000, 100, start=500, clock=clock)
    assert in_training.at(500) is None  # the bar asks before the first step
    clock.seconds += 10
    assert in_training.at(510) == pytest.approx(490)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, terminal = Clock(), Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    progress = Progress("name", 100, left=TimeLeft(100, 10, estimate=3_600.0, clock=clock))
    clock.seconds += 60
    progress.step_to(5)
    progress.bar.refresh()
    assert "<59:00, " in terminal.getvalue()
    progress.close()


def test_a_bar_without_a_terminal_prints_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("name", 1_000_000)
    progress.evaluated(5_000, -12.34, 0.5)
    progress.say("Pendulum-v1: its state cannot be saved")
    progress.close()
    evaluated, said = capsys.readouterr().err.splitlines()
    assert evaluated == "    5,000 of 1,000,000 steps: return -12.3 +- 0.5"
    assert is_evaluation(evaluated)
    assert not is_evaluation(said)


# Sweeps


def test_runs_are_told_apart_by_what_differs() -> None:
    runs = [["env=ant", "bn=none", "seed=0"], ["env=ant", "bn=none", "seed=1"]]
    assert distinguish(runs) == ["seed=0", "seed=1"]
    assert distinguish(runs[:1]) == ["env=ant bn=none seed=0"]
    assert distinguish([runs[0], runs[0]]) == ["env=ant bn=none seed=0"] * 2


class Writing:
    """In place of a process: writes something each time that somebody waits for it."""

    def __init__(self, command: list[str], **options: Any):
        self.log = options["stdout"]
        self.texts = ["kernel: naive\n   50 of 100 st", "eps: return 1.0 +- 0.2\n", "  100 of 100 "]

    def wait(self, timeout: float) -> int:
        if self.texts:
            self.log.write(self.texts.pop(0))
            self.log.flush()
            raise subprocess.TimeoutExpired("", timeout)
        self.log.write("steps: return 2.0 +- 0.0\n")
        self.log.flush()
        return 0


def test_a_sweep_says_what_its_runs_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "Popen", Writing)
    sweep = Sweep(tmp_path)
    jobs = [Job(str(tmp_path), n, ["bn=none", f"seed={n}"], f"runs/{n}", 1, ".") for n in (0, 1)]
    for job in jobs:
        # What an earlier try of the same run left is not said again.
        sweep.log(job.number).write_text("    1 of 100 steps: return 9.0 +- 0.0\n")
        sweep.record(job.number, Outcome("done", job.overrides, job.folder, "", 2.0))
    JoblibLauncher(n_jobs=1).do(jobs, sweep)
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "seed=0: started",
        "seed=0: 50 of 100 steps: return 1.0 +- 0.2",
        "seed=0: 100 of 100 steps: return 2.0 +- 0.0",
        "1 of 2: done: runs/0: return 2.0",
        "seed=1: started",
        "seed=1: 50 of 100 steps: return 1.0 +- 0.2",
        "seed=1: 100 of 100 steps: return 2.0 +- 0.0",
        "2 of 2: done: runs/1: return 2.0",
    ]


def test_nothing_begins_after_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Sweep(tmp_path)
    sweep.ask_to_stop(15)
    JoblibLauncher(n_jobs=1).do([Job(str(tmp_path), 0, ["seed=0"], "runs/0", 1, ".")], sweep)
    assert "seed=0: started" not in capsys.readouterr().out
    perform_in_subprocess(Job(str(tmp_path), 0, [], "", 1, "."), print)


def test_a_run_of_whole_rollouts_has_no_more_steps_than_its_total(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["env=pendulum", "evaluation.episodes=1", "tracking=none", "algo.batch_size=8"]
    assert train(tmp_path, "algo=ppo", "total_steps=40", "env.n_envs=2", *short) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if is_evaluation(line)]
    assert lines[-1].split(":")[0].split() == ["64", "of", "64", "steps"]
