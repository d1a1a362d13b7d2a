"""What goes wrong outside learning: one line, the right status, no process left behind."""

from __future__ import annotations

import errno
import signal
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

from tests.experiment.helpers import folder_of, train


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


@pytest.mark.parametrize(
    ("where", "failure", "words"),
    [
        ("build_agent", ZeroDivisionError("first\nsecond"), "ZeroDivisionError: first"),
        ("make_tracker", OSError("no space"), "OSError: no space"),
        ("build_agent", EOFError(), "a process of an environment has ended"),
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
    assert capsys.readouterr().err.splitlines() == [f"failed: {words}"]
    assert list(tmp_path.iterdir()) == []
    assert closed == [True]


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
    monkeypatch.setattr("snnrl.experiment.failures.replace_file", raising(full))
    assert train(tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("failed: OSError: [Errno 28] No space left on device")


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("failure", [EOFError(), BrokenPipeError(), ConnectionResetError()])
@pytest.mark.parametrize("where", ["build_agent", "build_evaluator"])
def test_a_process_that_a_signal_ended(
    where: str, failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise failure

    monkeypatch.setattr(f"snnrl.experiment.run.{where}", stop)
    assert train(tmp_path) == 143
    assert not (folder_of(tmp_path).path / "FAILED").exists()
