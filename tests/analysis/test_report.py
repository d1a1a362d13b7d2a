from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.report import (
    make_notes,
    make_table,
    summarise_run,
    to_csv,
    to_markdown,
    to_text,
)
from snnrl.analysis.runs import Run, load_run
from snnrl.errors import UserError
from tests.analysis.test_plots import assert_picture
from tests.run_folders import write_run

STEPS = range(0, 1100, 100)


def make_run(
    folder: Path, top: float, seed: int = 0, steps: Iterable[int] = STEPS, **settings: Any
) -> Run:
    """A run that rises evenly from 0 to ``top``, with two episodes 2 apart in each evaluation."""
    returns = {step: [top * step / 1000 - 1, top * step / 1000 + 1] for step in steps}
    return load_run(write_run(folder, returns, seed=seed, **settings))


@pytest.fixture
def groups(tmp_path: Path) -> dict[str, list[Run]]:
    return {
        "carebn": [make_run(tmp_path / f"carebn-{s}", t, s) for s, t in enumerate((100, 200, 600))],
        "vanilla": [
            make_run(tmp_path / "vanilla-0", 50, 0, bn="vanilla"),
            make_run(tmp_path / "vanilla-1", 9e9, 1, bn="vanilla", status="FAILED"),
        ],
    }


def test_table_numbers(groups: dict[str, list[Run]]) -> None:
    carebn, vanilla = make_table(groups)
    assert (carebn.environment, carebn.group, carebn.seeds) == (
        "HalfCheetah-v4",
        "carebn",
        [0, 1, 2],
    )
    assert carebn.estimates["final"].mean == pytest.approx(300)
    # t(0.975, 2) = 4.3027, sd = 264.575
    assert carebn.estimates["final"][2:] == pytest.approx((-357.241, 957.241), abs=1e-3)
    # The last ten of eleven evaluations: tops times the mean of 0.1 ... 1.0.
    assert carebn.estimates["last_10"].mean == pytest.approx(165)
    assert carebn.estimates["max_of_seeds"].mean == pytest.approx(300)
    assert carebn.estimates["max_of_mean"].mean == pytest.approx(300)
    assert (vanilla.seeds, vanilla.failed, vanilla.unfinished) == ([0], 1, 0)
    assert vanilla.estimates["final"].mean == pytest.approx(50)


def test_text_and_markdown_show_the_same_cells(groups: dict[str, list[Run]]) -> None:
    table, notes = make_table(groups), make_notes(groups)
    text, markdown = to_text(table, notes), to_markdown(table, notes)
    for part in ("300.0 [-357.2, 957.2]", "165.0 [-196.5, 526.5]", "max of mean curve", *notes):
        assert part in text
        assert part in markdown
    header, rule, *_ = markdown.splitlines()
    assert header.count("|") == rule.count("|") == 10


def test_csv_numbers(groups: dict[str, list[Run]]) -> None:
    carebn, vanilla = csv.DictReader(io.StringIO(to_csv(make_table(groups))))
    assert (carebn["seeds"], carebn["runs"]) == ("0 1 2", "3")
    assert float(carebn["final_mean"]) == pytest.approx(300)
    assert float(carebn["final_sd"]) == pytest.approx(264.575131)
    assert (vanilla["failed"], vanilla["final_low"]) == ("1", "")


def test_notes_name_failed_and_unfinished_runs(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", {}, status=None, versions={})
    (empty / "evaluations.csv").unlink()
    groups = {
        "carebn": [
            make_run(tmp_path / "failed", 1, 0, status="FAILED"),
            make_run(tmp_path / "cut", 1, 1, steps=[0, 100], status=None),
            load_run(empty),
        ]
    }
    notes = make_notes(groups)
    assert f"failed, not in the numbers: {tmp_path / 'failed'}" in notes
    assert any("(100 of 1000 steps)" in note and str(tmp_path / "cut") in note for note in notes)
    assert f"unfinished, not in the numbers, no evaluation yet: {empty}" in notes
    (row,) = make_table(groups)
    assert (row.seeds, row.failed, row.unfinished) == ([1], 1, 2)


def test_notes_on_differences(tmp_path: Path) -> None:
    groups = {
        "carebn": [make_run(tmp_path / "a", 1, 0, versions={"torch": "2.13.0", "numpy": "2.4"})],
        "vanilla": [
            make_run(
                tmp_path / "b", 1, 1, steps=[0, 100], versions={"torch": "2.12.0", "numpy": "2.4"}
            )
        ],
    }
    notes = make_notes(groups)
    assert "HalfCheetah-v4: steps differ: carebn: 1000; vanilla: 100" in notes
    assert "HalfCheetah-v4: seeds differ: carebn: 0; vanilla: 1" in notes
    assert "versions differ: torch 2.12.0, 2.13.0" in notes
    assert "HalfCheetah-v4, vanilla: 'last 10' is over 2, there are no more evaluations" in notes
    assert any(note.startswith("one seed, so no interval") for note in notes)
    assert not any("numpy" in note for note in notes)


def test_equal_groups_of_five_seeds_need_no_note(tmp_path: Path) -> None:
    groups = {
        bn: [make_run(tmp_path / f"{bn}-{seed}", seed, seed, bn=bn) for seed in range(5)]
        for bn in ("carebn", "vanilla")
    }
    assert make_notes(groups) == []


def test_notes_on_a_group_that_is_not_one_sample(tmp_path: Path) -> None:
    group = [
        make_run(tmp_path / "a", 1, 0),
        make_run(tmp_path / "b", 1, 0, steps=range(0, 1100, 50)),
        make_run(tmp_path / "c", 1, 1),
    ]
    notes = make_notes({"carebn": group})
    assert "HalfCheetah-v4, carebn: several runs with one seed: 0" in notes
    assert any("over the 11 evaluations that all seeds have" in note for note in notes)


def test_group_without_a_result(tmp_path: Path) -> None:
    groups = {"carebn": [make_run(tmp_path / "a", 1, status="FAILED")]}
    assert "HalfCheetah-v4, carebn: no run has a result" in make_notes(groups)
    (row,) = make_table(groups)
    assert to_text([row], []).splitlines()[1].split()[-4:] == ["-"] * 4


def test_summarise_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 100, steps=range(0, 2001, 50))
    text = summarise_run(run.path, tmp_path / "curve.png")
    header, *rows = [line.split() for line in text.splitlines()]
    assert header == ["steps", "mean", "return", "sd"]
    assert len(rows) == 10
    assert rows[0] == ["0", "0", "1.41"]
    assert rows[-1] == ["2000", "200.0", "1.41"]
    assert_picture(tmp_path / "curve.png")


def test_summarise_run_with_one_evaluation_of_one_episode(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {0: [5.0]})
    assert summarise_run(folder, tmp_path / "curve.png").splitlines()[1].split() == ["0", "5", "-"]


def test_summarise_run_without_evaluation(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {}, status="FAILED")
    with pytest.raises(UserError, match="no evaluation"):
        summarise_run(folder, tmp_path / "curve.png")
