"""Runs with ``regulation=ahsar``: evaluations move it, and are part of what is resumed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from snnrl.experiment.folder.run_folder import RunFolder
from tests.experiment.helpers import (
    assert_same,
    assert_same_run,
    folder_of,
    parameters,
    rows_of,
    train,
)
from tests.experiment.stopped import crash_at

SETTINGS = (
    "env=pendulum",
    "algo=td3",
    "regulation=ahsar",
    "regulation.momentum=1",
    "evaluation.every=20",
    "evaluation.episodes=1",
    "evaluation.max_episode_steps=20",
    "checkpoint.every=25",
)


def settings(*more: str) -> tuple[str, ...]:
    return (*SETTINGS, *more)


def global_gains(folder: RunFolder) -> dict[int, float]:
    rows = rows_of(folder, "progress")
    key = "global_gain/layer0"
    return {int(row["timesteps"]): float(row[key]) for row in rows if row[key]}


def log_gain(folder: RunFolder) -> float:
    found = [v for name, v in parameters(folder.model).items() if name.endswith("n.log_gain")]
    return float(found[0])


@pytest.mark.slow
def test_evaluations_that_are_due_move_the_global_gain(tmp_path: Path) -> None:
    short = settings("algo.learning_starts=10", "total_steps=45")
    assert train(tmp_path, *short) == 0
    folder = folder_of(tmp_path, *short)
    gains = global_gains(folder)
    # Each is logged before its own evaluation is reported; at step 0 no rates have been seen.
    assert list(gains) == [0, 20, 40, 45]
    assert gains[0] == gains[20] == 1
    assert len({gains[step] for step in (20, 40, 45)}) == 3
    # That at the end is not due, and moves nothing: it would be missing in a longer run.
    assert log_gain(folder) == pytest.approx(math.log(gains[45]), rel=1e-5)
    row = rows_of(folder, "progress")[-1]
    for key in ("moving_rate", "threshold_scale"):
        assert all(float(row[f"{key}/layer{i}"]) > 0 for i in range(2))


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    crash_at(67, tmp_path / "stopped", *settings())
    assert train(tmp_path / "stopped", *settings()) == 0
    assert train(tmp_path / "whole", *settings()) == 0
    stopped, whole = (folder_of(tmp_path / name, *settings()) for name in ("stopped", "whole"))
    assert_same_run(stopped, whole)
    assert_same(parameters(stopped.best_model), parameters(whole.best_model))
    assert global_gains(stopped) == global_gains(whole)
    assert log_gain(whole) != 0


@pytest.mark.slow
def test_a_longer_run_does_not_know_of_the_evaluation_at_an_earlier_end(tmp_path: Path) -> None:
    short = settings("total_steps=50")
    assert train(tmp_path / "longer", *short) == 0
    before = log_gain(folder_of(tmp_path / "longer", *short))
    assert train(tmp_path / "longer", *settings()) == 0
    assert train(tmp_path / "whole", *settings()) == 0
    longer, whole = (folder_of(tmp_path / name, *settings()) for name in ("longer", "whole"))
    assert_same_run(longer, whole)
    assert log_gain(whole) != before != 0


@pytest.mark.parametrize(
    "given",
    [("actor=ann",), ("actor=ann", "critic=spiking"), ("regulation.lowest=0.3",)],
)
def test_nothing_is_written_where_it_cannot_be(
    given: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("regulation=ahsar", *given)
    assert train(tmp_path / "results", *changes) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
