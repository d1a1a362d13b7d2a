"""Rows at a checkpoint's own step are known to it, whatever becomes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from snnrl.experiment.folder.run_folder import RunFolder
from tests.experiment.helpers import assert_same_run, folder_of, train
from tests.experiment.stopped import crash_at

TABLES = ("evaluations", "progress", "statistics_error")
EVERY = ("checkpoint.every=50", "log_every=30")
"""The checkpoint of step 50 falls on an evaluation; a row of progress comes after it."""

Damage = Callable[[list[str], list[int]], list[str]]


def gone(lines: list[str], own: list[int]) -> list[str]:
    return [line for n, line in enumerate(lines) if n not in own]


def half_gone(lines: list[str], own: list[int]) -> list[str]:
    return [line for n, line in enumerate(lines) if n != own[-1]]


def edited(lines: list[str], own: list[int]) -> list[str]:
    cells = lines[own[-1]].rstrip("\n").split(",")
    number = max(n for n, cell in enumerate(cells) if cell)
    cells[number] = f"{cells[number]}1"
    return [*lines[: own[-1]], ",".join(cells) + "\n", *lines[own[-1] + 1 :]]


def half_a_row(lines: list[str], own: list[int]) -> list[str]:
    last = lines[own[-1]]
    return [*lines[: own[-1]], last[: len(last) // 2]]


def doubled(lines: list[str], own: list[int]) -> list[str]:
    return [*lines[: own[0]], *(lines[n] for n in own), *lines[own[0] :]]


def of_an_earlier_step(lines: list[str], own: list[int]) -> list[str]:
    return [line.replace("50,", "0,", 1) if n in own else line for n, line in enumerate(lines)]


def renamed_columns(lines: list[str], own: list[int]) -> list[str]:
    return [lines[0].replace("\n", "x\n"), *lines[1:]]


def damage_step(folder: RunFolder, table: str, step: int, damage: Damage) -> Path:
    file = folder.path / f"{table}.csv"
    lines = file.read_text().splitlines(keepends=True)
    own = [n for n, line in enumerate(lines) if line.startswith(f"{step},")]
    assert own
    file.write_text("".join(damage(lines, own)))
    return file


def contents(folder: RunFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    """A run that was killed at step 78, and the one that was not."""
    results = tmp_path_factory.mktemp("results")
    crash_at(78, results / "killed", *EVERY)
    assert train(results / "whole", *EVERY) == 0
    return results / "killed", folder_of(results / "whole", *EVERY)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "damage", [gone, half_gone, edited, half_a_row, of_an_earlier_step, renamed_columns]
)
def test_damage_to_rows_of_the_checkpoint_s_step_is_missed(
    table: str,
    damage: Damage,
    runs: tuple[Path, RunFolder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    folder = folder_of(tmp_path, *EVERY)
    file = damage_step(folder, table, 50, damage)
    before = contents(folder)
    assert train(tmp_path, *EVERY) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: damaged (" in line and "at the checkpoint of step 50" in line
    assert contents(folder) == before


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("table", TABLES)
def test_rows_of_the_checkpoint_s_step_that_are_there_twice(
    table: str, runs: tuple[Path, RunFolder], tmp_path: Path
) -> None:
    """What comes after the rows that the checkpoint knows is made again."""
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    folder = folder_of(tmp_path, *EVERY)
    damage_step(folder, table, 50, doubled)
    assert train(tmp_path, *EVERY) == 0
    assert_same_run(folder, runs[1])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("damage", [gone, edited])
def test_a_run_that_was_killed_before_it_was_marked_as_done(
    table: str,
    damage: Damage,
    runs: tuple[Path, RunFolder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    theirs = runs[1]
    folder = folder_of(tmp_path, *EVERY)
    shutil.copytree(theirs.path, folder.path)
    (folder.path / "DONE").unlink()
    intact = (folder.path / f"{table}.csv").read_bytes()
    file = damage_step(folder, table, 100, damage)
    assert train(tmp_path, *EVERY) == 2
    error = capsys.readouterr().err
    assert f"{file}: damaged (" in error and "at the checkpoint of step 100" in error
    file.write_bytes(intact)
    assert train(tmp_path, *EVERY) == 0
    assert_same_run(folder, theirs)


@pytest.mark.slow
def test_a_table_that_is_no_table(
    runs: tuple[Path, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs[0], tmp_path, dirs_exist_ok=True)
    file = folder_of(tmp_path, *EVERY).path / "evaluations.csv"
    for content in (b"", b"\x00" * 200_000, b'"' + b"x" * 200_000, b"a\n" + b"1,2,3\n" * 9):
        file.write_bytes(content)
        assert train(tmp_path, *EVERY) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{file}: damaged" in line
    file.unlink()
    file.mkdir()
    assert train(tmp_path, *EVERY) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}: " in line
