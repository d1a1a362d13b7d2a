"""What goes wrong outside learning: one line, the right status, no process left behind."""

from __future__ import annotations

import errno
import inspect
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.errors import RunFailed, UserError, exit_status
from snnrl.experiment import run
from snnrl.experiment.folder.failures import is_machine_failure
from snnrl.experiment.progress import Progress
from snnrl.experiment.workers import EnvironmentEnded
from snnrl.train import main
from tests.broken_envs import Crashes
from tests.experiment.helpers import arguments, folder_of, slow_case, train


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one whenever environments are closed."""
    calls: list[bool] = []
    original = DummyVecEnv.close

    def close(env: DummyVecEnv) -> None:
        calls.append(True)
        original(env)

    monkeypatch.setattr(DummyVecEnv, "close", close)
    return calls


def raising(failure: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    return fail


RAISES = inspect.getsourcelines(raising)[1] + 2
"""The line that raises."""


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("where", "failure", "words"),
    [
        ("build_agent", ZeroDivisionError("first\nsecond"), "ZeroDivisionError: first"),
        ("make_tracker", OSError("no space"), "OSError: no space"),
        ("build_agent", EnvironmentEnded("a process has ended"), "a process has ended"),
        # An environment's own pipes and connections, not those of its process.
        ("build_agent", EOFError(), "EOFError"),
        (
            "build_agent",
            ConnectionResetError(104, "reset"),
            "ConnectionResetError: [Errno 104] reset",
        ),
        ("build_agent", BrokenPipeError("its simulator"), "BrokenPipeError: its simulator"),
    ],
)
def test_before_the_run_begins_nothing_is_left(
    where: str,
    failure: Exception,
    words: str,
    tmp_path: Path,
    closed: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(f"snnrl.experiment.run.{where}", raising(failure))
    assert train(tmp_path / "results") == 1
    (line,) = capsys.readouterr().err.splitlines()
    # The process of an environment has no line here.
    place = "" if isinstance(failure, RunFailed) else f", test_failures.py:{RAISES}"
    assert line == f"failed: {words}{place}"
    assert list(tmp_path.iterdir()) == []
    assert closed == [True]


def test_an_environment_that_fails_while_steps_are_timed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step passed before; later ones are made by an agent that is thrown away."""
    env_id = "env.id=tests.broken_envs:Crashes-v0"
    assert main(arguments(tmp_path / "results", env_id)) == 1
    line = inspect.getsourcelines(Crashes.step)[1] + 3
    place = f"broken_envs.py:{line}"
    assert capsys.readouterr().err == f"failed: ZeroDivisionError: my own bug, {place}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_finished_run_that_cannot_go_on_stays_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path)
    monkeypatch.setattr("snnrl.experiment.run.load_checkpoint", raising(RuntimeError("odd")))
    assert train(tmp_path, "total_steps=150") == 1
    assert folder.finished_steps() == 100
    assert not (folder.path / "FAILED").exists()


def test_when_it_has_begun_the_folder_says_so(
    tmp_path: Path, closed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnrl.experiment.run.build_evaluator", raising(OSError("no space")))
    assert train(tmp_path) == 1
    assert "OSError: no space" in (folder_of(tmp_path).path / "FAILED").read_text()
    assert closed == [True]


def test_a_disk_too_full_to_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("snnrl.experiment.run.build_evaluator", raising(full))
    monkeypatch.setattr("snnrl.run_format.failures.write_text", raising(full))
    assert train(tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("failed: OSError: [Errno 28] No space left on device")


def ending(failure: Exception) -> Any:
    def stop(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise failure

    return stop


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("where", ["build_agent", "build_evaluator"])
def test_a_process_that_a_signal_ended(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"snnrl.experiment.run.{where}", ending(EnvironmentEnded("ended")))
    assert train(tmp_path) == 143
    assert not (folder_of(tmp_path).path / "FAILED").exists()


def test_another_pipe_is_no_process_of_an_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnrl.experiment.run.build_evaluator", ending(BrokenPipeError("odd")))
    assert train(tmp_path) == 1
    assert "BrokenPipeError: odd" in (folder_of(tmp_path).path / "FAILED").read_text()


OUT_OF_MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 3 GiB"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nand more"),
    RuntimeError("can't start new thread"),
]


def test_little_memory_is_a_line_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("snnrl.experiment.run.build_evaluator", raising(MemoryError()))
    for _ in range(3):
        assert train(tmp_path) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"failed: MemoryError ({folder_of(tmp_path).path / 'FAILED'})"


@pytest.mark.parametrize("failure", OUT_OF_MEMORY)
def test_what_is_of_the_memory_is_of_the_machine(failure: Exception) -> None:
    assert is_machine_failure(failure)
    wrapped = RunFailed("the checkpoint cannot be written")
    wrapped.__cause__ = failure
    assert is_machine_failure(wrapped)
    assert not is_machine_failure(RuntimeError("odd"))


@pytest.mark.parametrize("failure", OUT_OF_MEMORY)
def test_little_memory_for_another_command(
    failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(raising(failure)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"failed: not enough memory on this machine ({type(failure).__name__}")


def test_a_working_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert exit_status(lambda: pytest.fail("began")) == 2
    problem = "No such file or directory"
    line = f"the working folder no longer exists ({problem}); expected an existing one"
    assert capsys.readouterr().err == f"error: {line}\n"


def test_other_errors_are_bugs() -> None:
    for bug in (RuntimeError("odd"), OSError(errno.ENOENT, "gone")):
        with pytest.raises(type(bug)):
            exit_status(raising(bug))


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("moment", "replaced"),
    [
        ("step 0", False),
        ("step 20", True),
        slow_case("evaluator", False),
        slow_case("step 20", False),
        slow_case("step 100", False),
    ],
)
def test_a_run_folder_that_is_removed_during_the_run(
    moment: str,
    replaced: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = folder_of(tmp_path)

    def remove() -> None:
        if folder.path.exists():
            shutil.rmtree(folder.path)
            if replaced:
                # Another process began the run anew.
                folder.path.mkdir()
                (folder.path / ".lock").touch()

    if moment == "evaluator":
        build = run.build_evaluator
        monkeypatch.setattr(run, "build_evaluator", lambda cfg: remove() or build(cfg))
    else:
        original = Progress.step_to if moment != "step 0" else Progress.evaluated

        def then(progress: Progress, timesteps: int, *others: float) -> None:
            original(progress, timesteps, *others)
            if timesteps == int(moment.split()[1]):
                remove()

        monkeypatch.setattr(Progress, original.__name__, then)
    assert train(tmp_path) == 1
    *_, line = capsys.readouterr().err.splitlines()
    expected = "removed or replaced during the run; expected it to stay until its end"
    assert line == f"failed: {folder.path}: {expected}"
    assert tree(folder.path) == ([".lock"] if replaced else [])


def test_a_run_folder_that_is_removed_before_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def remove(*_: Any) -> None:
        shutil.rmtree(tmp_path / "results")
        raise UserError("a mistake")

    monkeypatch.setattr(run, "make_tracker", remove)
    assert train(tmp_path / "results") == 2
    assert capsys.readouterr().err == "error: a mistake\n"
