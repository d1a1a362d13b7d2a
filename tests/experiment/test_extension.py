"""Longer and shorter than before, and folders that something has damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snnrl.experiment.evaluation import Episode, Evaluator
from tests.experiment.helpers import (
    assert_same,
    assert_same_run,
    assert_same_tables_and_models,
    folder_of,
    parameters,
    slow_case,
    steps_in,
    train,
)
from tests.experiment.stopped import Crash, crash_at


def test_an_extended_run_is_as_if_it_had_been_long_from_the_start(tmp_path: Path) -> None:
    for total in ("total_steps=70", "total_steps=130"):
        assert train(tmp_path / "extended", total) == 0
    assert train(tmp_path / "whole", "total_steps=130") == 0
    extended, whole = (folder_of(tmp_path / name) for name in ("extended", "whole"))
    assert steps_in(whole, "evaluations") == [0, 50, 100, 130]
    for name in ("evaluations.csv", "statistics_error.csv"):
        assert (extended.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert_same(parameters(extended.model), parameters(whole.model))
    assert json.loads((extended.path / "DONE").read_text())["timesteps"] == 130


UNEVEN = ["log_every=15"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("settings", "ends"),
    [
        slow_case([], [70, 130]),  # nothing was due at the earlier end
        slow_case(UNEVEN, [100, 130]),  # an evaluation was, a row of progress was not
        ([*UNEVEN, "checkpoint.every=20"], [30, 31, 99, 130]),  # a row of progress was
        slow_case(["algo=sac", *UNEVEN], [71, 130]),
        slow_case(["algo=dqn", "env=cartpole", *UNEVEN], [71, 130]),
        (["algo=ppo", *UNEVEN], [64, 130]),
        slow_case(["actor=ann", *UNEVEN], [71, 130]),
    ],
)
def test_no_trace_of_an_earlier_end(settings: list[str], ends: list[int], tmp_path: Path) -> None:
    """Every row, every loss and the best model."""
    for end in ends:
        assert train(tmp_path / "extended", *settings, f"total_steps={end}") == 0
    assert train(tmp_path / "whole", *settings, f"total_steps={ends[-1]}") == 0
    assert_same_tables_and_models(
        folder_of(tmp_path / "extended", *settings), folder_of(tmp_path / "whole", *settings)
    )


@pytest.mark.slow
def test_the_best_model_of_an_earlier_end_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations grow worse, but for the one at the earlier end."""
    original = Evaluator.run

    def run(evaluator: Evaluator, agent: Any, *rest: Any) -> list[Episode]:
        step = agent.num_timesteps
        value = 1000.0 if step == 70 else -float(step)
        return [
            replace(episode, total_reward=value) for episode in original(evaluator, agent, *rest)
        ]

    monkeypatch.setattr(Evaluator, "run", run)
    assert train(tmp_path / "extended", "total_steps=70") == 0
    extended = folder_of(tmp_path / "extended")
    assert_same(parameters(extended.best_model), parameters(extended.model))
    assert train(tmp_path / "extended", "total_steps=130") == 0
    assert train(tmp_path / "whole", "total_steps=130") == 0
    assert_same_tables_and_models(extended, folder_of(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("total", [70, 130])
def test_a_run_that_was_killed_between_its_last_checkpoint_and_its_end(
    total: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are on the disk already; a longer one does not have them."""

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr("snnrl.experiment.run.save_model", crash)
        with pytest.raises(Crash):
            train(tmp_path / "killed", "total_steps=70", *UNEVEN)
    killed = folder_of(tmp_path / "killed", *UNEVEN)
    assert not killed.model.exists()
    for name in ("killed", "whole"):
        assert train(tmp_path / name, f"total_steps={total}", *UNEVEN) == 0
    assert_same_tables_and_models(killed, folder_of(tmp_path / "whole", *UNEVEN))


@pytest.mark.parametrize(
    ("settings", "end"),
    [(["bn.recalibrate_every=60"], 60), slow_case(["algo=ppo", "algo.n_steps=16"], 64)],
)
def test_a_run_that_is_made_shorter_is_as_if_it_had_been_short(
    settings: list[str], end: int, tmp_path: Path
) -> None:
    """Its last evaluation, just after a re-calibration, is made from the checkpoint."""
    settings = [*settings, "checkpoint.every=60", "evaluation.every=1000"]
    crash_at(78, tmp_path / "shorter", *settings, "total_steps=200")
    for name in ("shorter", "whole"):
        assert train(tmp_path / name, *settings, "total_steps=60") == 0
    shorter, whole = (folder_of(tmp_path / name, *settings) for name in ("shorter", "whole"))
    assert steps_in(shorter, "evaluations") == [0, end]
    assert_same_tables_and_models(shorter, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "end", "killed"),
    [
        slow_case([], 70, 90),  # before the first evaluation of the longer run
        ([], 70, 110),  # after it
        slow_case(UNEVEN, 100, 111),  # an evaluation was due at the end, a row of progress was not
        slow_case(["algo=sac", *UNEVEN], 71, 80),
        slow_case(["algo=dqn", "env=cartpole", *UNEVEN], 71, 80),
        slow_case(["algo=ppo", *UNEVEN], 64, 90),
    ],
)
def test_back_to_the_shorter_length_after_a_longer_run_was_killed(
    settings: list[str], end: int, killed: int, tmp_path: Path
) -> None:
    """The longer run had no checkpoint yet, and had taken back the rows of the end."""
    assert train(tmp_path / "back", *settings, f"total_steps={end}") == 0
    for _ in range(2):
        crash_at(killed, tmp_path / "back", *settings, "total_steps=130")
    for name in ("back", "whole"):
        assert train(tmp_path / name, *settings, f"total_steps={end}") == 0
    back, whole = (folder_of(tmp_path / name, *settings) for name in ("back", "whole"))
    assert back.finished_steps() == end
    # DQN logs its exploration rate at a step, and no step is made here.
    same = assert_same_run if "algo=dqn" in settings else assert_same_tables_and_models
    same(back, whole)
    for name in ("back", "whole"):
        assert train(tmp_path / name, *settings, "total_steps=130") == 0
    assert_same_tables_and_models(back, whole)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["evaluations", "statistics_error"])
def test_back_to_the_shorter_length_after_one_table_alone_was_cut(
    table: str, tmp_path: Path
) -> None:
    """A longer run was killed while it took rows back."""
    for name in ("back", "whole"):
        assert train(tmp_path / name, "total_steps=70") == 0
    back, whole = (folder_of(tmp_path / name) for name in ("back", "whole"))
    (back.path / "DONE").unlink()
    file = back.path / f"{table}.csv"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("70,")))
    assert train(tmp_path / "back", "total_steps=70") == 0
    assert_same_tables_and_models(back, whole)


@pytest.mark.slow
def test_rows_of_before_an_end_are_missed_at_either_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "total_steps=70") == 0
    folder = folder_of(tmp_path)
    crash_at(90, tmp_path, "total_steps=130")
    file = folder.path / "evaluations.csv"
    file.write_text(file.read_text().rpartition("50,")[0])
    for total in (70, 130):
        assert train(tmp_path, f"total_steps={total}") == 2
        assert f"{file}: damaged (" in capsys.readouterr().err


@pytest.mark.slow
def test_rows_of_an_earlier_end_do_not_matter(tmp_path: Path) -> None:
    """They are not a longer run's."""
    assert train(tmp_path / "extended", "total_steps=70") == 0
    extended = folder_of(tmp_path / "extended")
    for name in ("evaluations", "progress", "statistics_error"):
        file = extended.path / f"{name}.csv"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join([*lines[:-1], lines[-1].replace("1", "2")]))
    for name in ("extended", "whole"):
        assert train(tmp_path / name, "total_steps=130") == 0
    assert_same_tables_and_models(extended, folder_of(tmp_path / "whole"))


def test_a_damaged_done_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path) == 0
    (folder_of(tmp_path).path / "DONE").write_text("")
    capsys.readouterr()
    assert train(tmp_path) == 2
    assert "DONE: cannot be read" in capsys.readouterr().err


def test_fewer_steps_than_the_checkpoint_has_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    (folder_of(tmp_path).path / "DONE").unlink()
    assert train(tmp_path, "total_steps=60") == 2
    assert "is at step 100 already" in capsys.readouterr().err


def test_the_model_loads_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnrl.agents import TD3
    from snnrl.experiment.checkpoint.save import save_model

    kernels = {"net_arch": [8], "kernel": "compile"}
    agent = TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=kernels, buffer_size=10)
    save_model(tmp_path / "model.zip", agent)
    assert agent.policy_kwargs["kernel"] == "compile"
    monkeypatch.setattr(shutil, "which", lambda _: None)
    loaded = TD3.load(tmp_path / "model.zip")
    assert loaded.actor.network.kernel == "naive"
