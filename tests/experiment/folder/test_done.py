"""What a run that is done has promised is there, or it is said."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snnrl import evaluate
from snnrl.analysis.run_folders import load_run
from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.progress import Progress
from snnrl.experiment.run import run
from tests.experiment.helpers import (
    arguments,
    assert_same,
    assert_same_tables_and_models,
    folder_of,
    parameters,
    slow_case,
    train,
)
from tests.experiment.stopped import crash_at

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("finished")
    assert train(results) == 0
    return results


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> RunFolder:
    """A copy of a finished run, to be spoiled."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return folder_of(tmp_path)


def refused(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> str:
    """The line with which the run is refused, which changes nothing."""

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}

    before = contents()
    capsys.readouterr()
    assert train(Path(folder.cfg.results_dir)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert contents() == before
    (line,) = err.splitlines()
    return line


def of_an_earlier_version(folder: Path) -> None:
    done = json.loads((folder / "DONE").read_text())
    (folder / "DONE").write_text(json.dumps({key: done[key] for key in ("timesteps", "kernel")}))


def lines_of(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff garbage \n" * 500)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def without_last_evaluation(path: Path) -> None:
    lines_of(path, lambda lines: [line for line in lines if not line.startswith("100,")])


def without_last_episode(path: Path) -> None:
    lines_of(path, lambda lines: lines[:-1])


def without_an_evaluation(path: Path) -> None:
    lines_of(path, lambda lines: [line for line in lines if not line.startswith("50,")])


def of_another_step(path: Path) -> None:
    path.write_text(path.read_text().replace("100,", "90,"))


def no_number(path: Path) -> None:
    lines_of(path, lambda lines: [*lines[:-1], "100,1,100,nan,9\n"])


def other_number(path: Path) -> None:
    lines_of(path, lambda lines: [*lines[:-1], "100,1,100,1e9,9\n"])


def no_rows(path: Path) -> None:
    lines_of(path, lambda lines: lines[:1])


def twice(path: Path) -> None:
    lines_of(path, lambda lines: [*lines, *lines[-2:]])


ANY: list[Damage] = [garbage, empty, half, doubled, one_bit]
TO_ROWS: list[Damage] = [
    without_last_evaluation,
    without_last_episode,
    of_another_step,
    no_number,
    no_rows,
    twice,
]
UNNOTICED_BEFORE: list[Damage] = [other_number, without_an_evaluation]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("damage", [*ANY, *TO_ROWS, *UNNOTICED_BEFORE, Path.unlink])
def test_evaluations_that_are_not_the_run_s_are_no_result(
    damage: Damage, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder.path / "evaluations.csv"
    damage(file)
    assert f"error: {file}: " in refused(folder, capsys)
    with pytest.raises(UserError, match=r"evaluations\.csv: ") as caught:
        load_run(folder.path)
    assert "\n" not in str(caught.value)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("damage", [empty, half, *TO_ROWS, Path.unlink])
def test_evaluations_of_an_earlier_version(
    damage: Damage, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    of_an_earlier_version(folder.path)
    assert train(Path(folder.cfg.results_dir)) == 0
    assert len(load_run(folder.path).evaluations) == 6
    file = folder.path / "evaluations.csv"
    damage(file)
    assert f"error: {file}: " in refused(folder, capsys)
    with pytest.raises(UserError, match=r"evaluations\.csv: ") as caught:
        load_run(folder.path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_sweep_does_not_count_it_as_done(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    without_last_evaluation(folder.path / "evaluations.csv")
    capsys.readouterr()
    assert train(Path(folder.cfg.results_dir), "-m", "seed=0,1") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "2 runs: 1 done, 1 failed"
    assert f"{folder.path / 'evaluations.csv'}: " in err


def test_the_final_return_is_that_of_the_last_evaluation(folder: RunFolder) -> None:
    cfg = compose_config(arguments(Path(folder.cfg.results_dir)))
    rows = [line.split(",") for line in (folder.path / "evaluations.csv").read_text().splitlines()]
    last = [float(row[3]) for row in rows if row[0] == "100"]
    assert run(cfg, []).final_return == sum(last) / len(last)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("damage", [half, one_bit])
@pytest.mark.parametrize(
    "name",
    ["config.yaml", "provenance.json", "progress.csv", "statistics_error.csv", "curve.png"],
)
def test_other_files_of_a_run_that_is_done(
    name: str, damage: Damage, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder.path / name)
    assert f"error: {folder.path / name}: damaged" in refused(folder, capsys)
    if name != "curve.png":
        with pytest.raises(UserError, match=name) as caught:
            load_run(folder.path)
        assert "\n" not in str(caught.value)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["progress.csv", "curve.png", "overrides.yaml"])
def test_what_is_gone_and_no_result_is_said(
    name: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / name).unlink()
    capsys.readouterr()
    assert train(Path(folder.cfg.results_dir)) == 0
    out = capsys.readouterr().out
    assert out == f"already done (100 steps): {folder.path}; it has no {name} any more\n"


def test_a_longer_run_that_is_done_says_that_it_is_longer(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert train(Path(folder.cfg.results_dir), "total_steps=99") == 0
    line = f"already done: 100 steps, more than total_steps=99: {folder.path}\n"
    assert capsys.readouterr().out == line


def test_other_ends_of_lines_are_no_damage(folder: RunFolder) -> None:
    """A checkout may have them."""
    for name in ("evaluations.csv", "config.yaml", "progress.csv"):
        file = folder.path / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert train(Path(folder.cfg.results_dir)) == 0
    assert len(load_run(folder.path).evaluations) == 6


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("damage", "earlier"),
    [
        slow_case(doubled, False),
        (one_bit, False),
        slow_case(garbage, True),
        (half, True),
        slow_case(Path.unlink, True),
    ],
)
@pytest.mark.parametrize("name", ["model.zip", "best_model.zip"])
def test_a_model_is_made_again_from_the_checkpoint(
    name: str,
    damage: Damage,
    earlier: bool,
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    intact = parameters(folder.path / name)
    if earlier:
        of_an_earlier_version(folder.path)
    damage(folder.path / name)
    line = refused(folder, capsys)
    assert f"error: {folder.path / name}: " in line
    assert "DONE removed, so that the same command makes it again from the checkpoint" in line
    if damage is not Path.unlink:
        which = "last" if name == "model.zip" else "best"
        assert evaluate.main([str(folder.path), "--model", which, "--episodes", "1"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"error: {folder.path / name}: " in line
    (folder.path / "DONE").unlink()
    assert train(Path(folder.cfg.results_dir)) == 0
    assert_same(parameters(folder.path / name), intact)
    assert train(Path(folder.cfg.results_dir)) == 0


def test_a_clone_without_models_is_done(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models and checkpoints are in no repository."""
    shutil.rmtree(folder.checkpoint)
    for name in (".saved", "model.zip", "best_model.zip"):
        (folder.path / name).unlink()
    assert train(Path(folder.cfg.results_dir)) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"{folder.path}; it has no model.zip, best_model.zip any more\n")


def test_the_configuration_that_an_evaluation_reads(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder.path / "config.yaml"
    file.write_text(file.read_text().replace("InvertedPendulum-v4", "InvertedPendulum-v5"))
    assert evaluate.main([str(folder.path)]) == 2
    assert f"{file}: damaged" in capsys.readouterr().err


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("text", ["", "{", "[]", '{"timesteps": 1, "files": 3}', "3", "\x00"])
def test_a_mark_that_cannot_be_read(
    text: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.path / "DONE").write_text(text)
    assert f"{folder.path / 'DONE'}: cannot be read" in refused(folder, capsys)
    with pytest.raises(UserError, match="DONE: cannot be read"):
        load_run(folder.path)


# While a run goes on


@pytest.mark.parametrize(
    ("stop", "damage"),
    [(signal.SIGTERM, garbage), slow_case(signal.SIGTERM, Path.unlink), slow_case(None, half)],
)
def test_a_best_model_that_was_damaged_between_two_starts(
    stop: signal.Signals | None, damage: Damage, finished: Path, tmp_path: Path
) -> None:
    """At step 60 there is a checkpoint, or nothing but that of step 50."""
    if stop is None:
        crash_at(60, tmp_path, "checkpoint.every=50")
    else:
        original = Progress.step_to

        def step_to(progress: Progress, timesteps: int) -> None:
            original(progress, timesteps)
            if timesteps == 60:
                signal.raise_signal(stop)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Progress, "step_to", step_to)
            assert train(tmp_path) == 143
    folder = folder_of(tmp_path)
    damage(folder.best_model)
    assert train(tmp_path) == 0
    assert_same_tables_and_models(folder, folder_of(finished))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("damage", "at"),
    [
        (garbage, 20),
        slow_case(empty, 60),
        slow_case(half, 60),
        slow_case(doubled, 99),
        (Path.unlink, 99),
    ],
)
def test_whatever_is_damaged_during_a_run_is_whole_at_its_end(
    damage: Damage,
    at: int,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = folder_of(tmp_path)
    names = (
        *("config.yaml", "overrides.yaml", "provenance.json", "best_model.zip"),
        *("evaluations.csv", "progress.csv", "statistics_error.csv"),
    )
    original = Progress.step_to

    def step_to(progress: Progress, timesteps: int) -> None:
        original(progress, timesteps)
        if timesteps == at:
            for name in names:
                damage(folder.path / name)

    monkeypatch.setattr(Progress, "step_to", step_to)
    assert train(tmp_path, "checkpoint.every=30") == 0
    assert_same_tables_and_models(folder, folder_of(finished))
    assert f"{folder.best_model}: another program changed it" in capsys.readouterr().err
    record = [(f.path / "config.yaml").read_text() for f in (folder, folder_of(finished))]
    assert record[0].replace(str(tmp_path), "").replace("every: 30", "") == record[1].replace(
        str(finished), ""
    ).replace("every: 25000", "")
    assert len(load_run(folder.path).versions) > 5


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("knows_rows", [True, False])
@pytest.mark.parametrize("every", [40, 50])
def test_a_checkpoint_of_an_earlier_version_goes_on(
    every: int, knows_rows: bool, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the rows before its own step, or none, and no best model."""
    as_earlier_versions_did(monkeypatch, knows_rows=knows_rows)
    crash_at(78, tmp_path, f"checkpoint.every={every}")
    monkeypatch.undo()
    assert train(tmp_path) == 0
    assert_same_tables_and_models(folder_of(tmp_path), folder_of(finished))


@pytest.mark.parametrize("damage", [slow_case(garbage), half])
def test_a_best_model_that_a_checkpoint_of_an_earlier_version_does_not_have(
    damage: Damage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_earlier_versions_did(monkeypatch)
    crash_at(78, tmp_path, "checkpoint.every=50")
    monkeypatch.undo()
    folder = folder_of(tmp_path)
    damage(folder.best_model)
    assert train(tmp_path) == 2
    assert f"{folder.best_model}: damaged" in capsys.readouterr().err
    folder.best_model.unlink()
    assert train(tmp_path) == 0
    assert f"{folder.best_model}: missing" in capsys.readouterr().out


def test_rows_that_a_checkpoint_does_not_know_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row that cannot be read, among rows of earlier steps."""
    as_earlier_versions_did(monkeypatch, knows_rows=False)
    crash_at(78, tmp_path, "checkpoint.every=50", "log_every=20")
    monkeypatch.undo()
    file = folder_of(tmp_path, "log_every=20").path / "progress.csv"
    lines_of(file, lambda lines: [lines[0], "garbage\n", *lines[1:]])
    assert train(tmp_path, "log_every=20") == 2
    assert f"{file}: damaged" in capsys.readouterr().err


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("knows_rows", [True, False])
def test_a_run_that_an_earlier_version_ended_is_extended(
    knows_rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier_versions_did(monkeypatch, knows_rows=knows_rows)
    assert train(tmp_path / "extended", "total_steps=70") == 0
    monkeypatch.undo()
    of_an_earlier_version(folder_of(tmp_path / "extended").path)
    for name in ("extended", "whole"):
        assert train(tmp_path / name, "total_steps=130") == 0
    extended, whole = folder_of(tmp_path / "extended"), folder_of(tmp_path / "whole")
    assert_same(parameters(extended.model), parameters(whole.model))
    for table in ("evaluations.csv", "statistics_error.csv"):
        assert (extended.path / table).read_bytes() == (whole.path / table).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("knows_rows", [True, False])
@pytest.mark.parametrize("extension", [None, 90])
def test_the_end_of_an_earlier_version_s_run_is_reached_again(
    extension: int | None, knows_rows: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was due there; its rows are there, or a longer run has taken them back."""
    as_earlier_versions_did(monkeypatch, knows_rows=knows_rows)
    assert train(tmp_path / "ended", "total_steps=70") == 0
    monkeypatch.undo()
    ended, whole = (folder_of(tmp_path / name) for name in ("ended", "whole"))
    if extension is None:
        (ended.path / "DONE").unlink()
    else:
        crash_at(extension, tmp_path / "ended", "total_steps=130")
    for name in ("ended", "whole"):
        assert train(tmp_path / name, "total_steps=70") == 0
    assert_same(parameters(ended.model), parameters(whole.model))
    for table in ("evaluations.csv", "statistics_error.csv"):
        assert (ended.path / table).read_bytes() == (whole.path / table).read_bytes()


def as_earlier_versions_did(monkeypatch: pytest.MonkeyPatch, *, knows_rows: bool = True) -> None:
    """Let checkpoints hold what they did: fingerprints of the rows of earlier steps.

    :param knows_rows: the earliest ones' held none
    """
    from snnrl.experiment.checkpoint import save

    def state(agent: Any, position: Any, longer: Any) -> bytes:
        import io
        import zlib

        import torch

        tables = {}
        for name, table in agent_tables().items():
            rows = [row for row in table.rows() if int(row["timesteps"]) < agent.num_timesteps]
            crc = 0
            for row in rows:
                cells = sorted((key, cell) for key, cell in row.items() if cell)
                crc = zlib.crc32(repr(cells).encode(), crc)
            tables[name] = (len(rows), crc)
        file = io.BytesIO(original(agent, position, longer))
        content = torch.load(file, weights_only=False)
        for name in ("position", "longer", "statistics_before", "last_rollout"):
            del content[name]
        content |= {"clocks": position.clocks, "losses": agent.loss_log}
        if knows_rows:
            content["tables"] = tables
        file = io.BytesIO()
        torch.save(content, file)
        return file.getvalue()

    def agent_tables() -> dict[str, Any]:
        return supervisors[-1].tables

    supervisors: list[Any] = []
    from snnrl.experiment.callbacks import Supervisor

    started = Supervisor._on_training_start

    def on_training_start(supervisor: Supervisor) -> None:
        supervisors.append(supervisor)
        started(supervisor)

    original = save._state
    monkeypatch.setattr(save, "_state", state)
    monkeypatch.setattr(Supervisor, "_on_training_start", on_training_start)
