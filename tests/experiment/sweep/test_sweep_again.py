"""A sweep run again skips what is done, goes on with what was cut off, retries what failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snnrl.experiment.callbacks import Supervisor
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.run_format.failures import Failure, add_failure, failed_twice, read_failures
from snnrl.train import main
from tests.experiment.helpers import (
    arguments,
    assert_same,
    folder_of,
    parameters,
    rows_of,
    train,
)

TROUBLE = (
    "env.id=tests.sweep_envs:Sound-v0,tests.sweep_envs:Failing-v0,tests.sweep_envs:Killed-v0",
    "checkpoint.every=25",
)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, RunFolder]:
    return {
        name: folder_of(tmp_path, f"env.id=tests.sweep_envs:{name}-v0", TROUBLE[1])
        for name in ("Sound", "Failing", "Killed")
    }


@pytest.mark.slow
def test_one_failing_and_one_killed_job_run_twice(
    tmp_path: Path,
    folders: dict[str, RunFolder],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    trouble = tmp_path / "trouble"
    trouble.touch()
    monkeypatch.setenv("SNNRL_TEST_TROUBLE", str(trouble))
    monkeypatch.setattr("sys.argv", ["train"])
    command = ["-m", *arguments(tmp_path, *TROUBLE), "hydra/launcher=joblib"]
    assert main(command) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "3 runs: 1 done, 1 interrupted, 1 failed"
    lines = dict(line.split(": ", 1) for line in err.splitlines() if "env.id=" in line)
    assert "Failing-v0: ArithmeticError: trouble" in lines["failed"]
    assert str(folders["Failing"].path / "FAILED") in lines["failed"]
    assert "Killed-v0: its process ended by SIGKILL" in lines["interrupted"]
    assert str(folders["Killed"].path) in lines["interrupted"]
    assert folders["Sound"].finished_steps() == 100
    before = (folders["Sound"].path / "DONE").stat().st_mtime_ns

    trouble.unlink()
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[-1] == "3 runs: 2 done, 1 skipped"
    assert f"already done (100 steps): {folders['Sound'].path}" in out
    assert (folders["Sound"].path / "DONE").stat().st_mtime_ns == before
    (sweep,) = {path.parent for path in tmp_path.glob(".multirun/*/2.log")} - {
        path.parent for path in tmp_path.glob(".multirun/*/0.log")
    }
    assert "resuming from step 50 of 100" in (sweep / "2.log").read_text()
    for name in ("Failing", "Killed"):
        assert folders[name].finished_steps() == 100
        assert not (folders[name].path / "FAILED").exists()
        assert not (folders[name].path / "failures.json").exists()
        # As a run that was never stopped.
        alone = tmp_path / "alone"
        id_ = f"env.id=tests.sweep_envs:{name}-v0"
        assert train(alone, id_, TROUBLE[1]) == 0
        other = folder_of(alone, id_, TROUBLE[1])
        for table in ("evaluations", "statistics_error"):
            assert rows_of(folders[name], table) == rows_of(other, table)
        assert_same(parameters(folders[name].model), parameters(other.model))


# The same failure twice


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the runs' evaluations at step 50 fail of, one after another; then they are sound."""
    reasons: list[str] = []
    original = Supervisor._evaluate

    def evaluate(supervisor: Supervisor, step: int) -> float:
        if step == 50 and reasons:
            raise ArithmeticError(reasons.pop(0))
        return original(supervisor, step)

    monkeypatch.setattr(Supervisor, "_evaluate", evaluate)
    return reasons


@pytest.mark.slow
def test_the_same_failure_twice_is_not_tried_a_third_time(
    tmp_path: Path, failing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    failing += ["one"] * 3
    folder = folder_of(tmp_path)
    assert [train(tmp_path), train(tmp_path)] == [1, 1]
    assert read_failures(folder.path) == [Failure(50, "ArithmeticError: one")] * 2
    capsys.readouterr()
    assert train(tmp_path) == 1
    assert len(failing) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(
        "failed: twice with the same error at step 50, so not retried without retry="
    )
    assert f"ArithmeticError: one ({folder.path / 'FAILED'})" in line

    assert train(tmp_path, "retry=true") == 1
    assert failing == []
    assert train(tmp_path) == 1
    assert train(tmp_path, "retry=true") == 0
    assert folder.finished_steps() == 100
    assert not (folder.path / "failures.json").exists()
    assert train(tmp_path) == 0


@pytest.mark.slow
def test_another_failure_is_not_the_same(tmp_path: Path, failing: list[str]) -> None:
    failing += ["one", "two", "one"]
    assert [train(tmp_path) for _ in range(4)] == [1, 1, 1, 0]


def test_failures_at_other_steps_are_not_the_same(tmp_path: Path) -> None:
    (tmp_path / "FAILED").touch()
    for step in (10, 20):
        add_failure(tmp_path, Failure(step, "one"))
    assert failed_twice(tmp_path) is None
    add_failure(tmp_path, Failure(20, "one"))
    assert failed_twice(tmp_path) == Failure(20, "one")


def test_a_run_that_was_cut_off_since_goes_on(tmp_path: Path) -> None:
    for _ in range(2):
        add_failure(tmp_path, Failure(20, "one"))
    assert failed_twice(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[", "{}", '["one"]', '[{"step": 1}]', "3"])
def test_a_list_of_failures_that_cannot_be_read_tells_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "failures.json").write_text(text)
    assert read_failures(tmp_path) == []


@pytest.mark.slow
def test_a_sweep_says_which_it_did_not_try_and_does_the_others(
    tmp_path: Path, failing: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    failing += ["one", "one"]
    assert [train(tmp_path), train(tmp_path)] == [1, 1]
    capsys.readouterr()
    assert train(tmp_path, "-m", "seed=0,1") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "2 runs: 1 done, 1 failed"
    assert any(
        line.startswith("failed: seed=0: twice with the same error") for line in err.splitlines()
    )


# Folders that are not a run's


def test_a_folder_that_is_not_a_run_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path).path
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("all of it")
    assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder}: not a run folder, it holds thesis.tex" in line
    assert (folder / "thesis.tex").read_text() == "all of it"


def test_a_run_that_is_half_written_starts_afresh(tmp_path: Path) -> None:
    folder = folder_of(tmp_path).path
    folder.mkdir(parents=True)
    for name in ("config.yaml", "evaluations.csv", ".overrides.yaml.tmp"):
        (folder / name).write_text("half")
    assert train(tmp_path) == 0


@pytest.mark.slow
def test_a_history_that_cannot_be_read_is_one_line_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path)
    (folder.path / "provenance.json").write_text('{"versions": ')
    capsys.readouterr()
    assert train(tmp_path, "total_steps=150") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder.path / 'provenance.json'}: cannot be read" in line
    assert folder.finished_steps() == 100


def test_a_run_that_is_done_but_has_lost_its_evaluations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path).path
    folder.mkdir(parents=True)
    (folder / "DONE").write_text(json.dumps({"timesteps": 100, "kernel": "naive"}))
    assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'evaluations.csv'}: not there, though the run is done" in line


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("more", [(), ("-m", "seed=0,1")])
def test_results_that_cannot_be_written(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    # Not even root can make a folder in there.
    assert train(Path("/proc/snnrl"), *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: results_dir")


def test_a_run_folder_where_a_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path).path
    folder.parent.mkdir(parents=True)
    folder.write_text("mine")
    assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: results_dir={tmp_path}: cannot write there")
    assert folder.read_text() == "mine"


def test_the_failures_of_a_run_stay_when_it_starts_afresh(
    tmp_path: Path, failing: list[str]
) -> None:
    failing += ["one", "two"]
    assert train(tmp_path) == 1
    folder = folder_of(tmp_path).path
    assert not (folder / "checkpoint").exists()
    assert train(tmp_path) == 1
    assert len(read_failures(folder)) == 2
