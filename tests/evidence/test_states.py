"""How far a run is, by its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from scripts.evidence.entries import Entry
from scripts.evidence.plan import Planned
from scripts.evidence.states import is_done, seconds_per_step, state_of
from snnrl.experiment.checkpoint.manifest import Manifest, write_manifest
from snnrl.experiment.sweep.outcomes import Outcome
from tests.run_folders import write_run


def planned(path: Path, steps: int, extends: Entry | None = None) -> Planned:
    entry = Entry(1, "tag", ("bn=none",), 0, steps)
    return Planned(entry, "bn=none", ["bn=none", f"total_steps={steps}"], "f", path, extends)


def write(path: Path, last: int, *, planned: int, status: str | None = None, **more: Any) -> Path:
    returns = {step: [float(step)] for step in range(0, last + 1, 100)}
    clock = {step: step * 36 for step in returns}
    settings = {"total_steps": planned, "algo.learning_starts": 100}
    write_run(path, returns, status=status, settings=settings, clock=clock, **more)
    if status == "DONE":
        (path / "DONE").write_text(json.dumps({"timesteps": last}))
    return path


def test_nothing_there(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert not is_done(path, 100)
    state = state_of(planned(path, 100), [], None)
    assert (state.kind, state.steps, state.last_return, state.hours) == ("waiting", 0, None, None)
    refused = Outcome("failed", [], "f", "UserError: no")
    assert state_of(planned(path, 100), [], refused).kind == "failed"
    assert state_of(planned(path, 100), [], refused).reason == "UserError: no"


def test_under_way(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 400, planned=1000)
    run = planned(path, 1000)
    assert not is_done(path, 1000)
    state = state_of(run, [run.overrides], None)
    assert (state.kind, state.steps, state.last_return) == ("running", 400, 400.0)
    # 36 seconds a step, 600 steps left.
    assert state.hours == pytest.approx(6)
    cut_off = Outcome("interrupted", [], "f", "its process ended by SIGKILL")
    state = state_of(run, [], cut_off)
    assert (state.kind, state.reason) == ("waiting", "its process ended by SIGKILL")


def test_done_and_extended(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 400, planned=400, status="DONE")
    short = planned(path, 400)
    long = planned(path, 900, short.entry)
    assert is_done(path, 400) and not is_done(path, 900)
    assert state_of(short, [], None).kind == "done"
    assert state_of(long, [], None)[:3] == ("waiting", 400, 400.0)
    # The longer run has begun: DONE is gone, and what was done is done.
    path = write(tmp_path / "longer", 500, planned=900)
    short, long = planned(path, 400), planned(path, 900, short.entry)
    assert is_done(path, 400) and not is_done(path, 900)
    assert state_of(short, [long.overrides], None)[:3] == ("done", 400, 400.0)
    assert state_of(long, [long.overrides], None)[:3] == ("running", 500, 500.0)


def test_an_extension_that_was_killed_before_an_evaluation(tmp_path: Path) -> None:
    """It has taken back the evaluation at the shorter run's end, where none was due."""
    path = write(tmp_path / "run", 300, planned=900)
    short = planned(path, 350)
    long = planned(path, 900, short.entry)
    assert is_done(path, 350) and not is_done(path, 900)
    assert state_of(short, [], None)[:2] == ("done", 350)
    assert state_of(long, [], None)[:2] == ("waiting", 300)


@pytest.mark.parametrize(("step", "done"), [(350, False), (363, False), (364, True)])
def test_a_checkpoint_that_is_past_the_end(step: int, done: bool, tmp_path: Path) -> None:
    """The folder says the shorter length again; PPO's last rollout of 14 steps may pass its end."""
    path = write(tmp_path / "run", 300, planned=350)
    config = yaml.safe_load((path / "config.yaml").read_text())
    config |= {"algo": {"name": "ppo", "n_steps": 14}}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    save = path / "checkpoint" / "save-2"
    save.mkdir(parents=True)
    write_manifest(save, Manifest("run", step, {}, []))
    (path / "checkpoint" / "save-3").mkdir()  # damaged
    assert is_done(path, 350) == done


def test_what_an_extension_failed_of_is_not_the_shorter_run_s(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 500, planned=900, status="FAILED")
    (path / "FAILED").write_text("ValueError: no\n")
    short = planned(path, 400)
    long = planned(path, 900, short.entry)
    assert state_of(short, [], None).kind == "done"
    assert (state_of(long, [], None).kind, state_of(long, [], None).reason) == (
        "failed",
        "ValueError: no",
    )


def test_a_longer_run_waits_where_the_shorter_one_failed(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 200, planned=400, status="FAILED")
    (path / "FAILED").write_text("ValueError: no\n")
    short = planned(path, 400)
    assert state_of(short, [], None).kind == "failed"
    assert state_of(planned(path, 900, short.entry), [], None).kind == "waiting"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"timesteps": "x"}'])
def test_a_damaged_done_is_not_done(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "run", 400, planned=400)
    (path / "DONE").write_text(content)
    assert not is_done(path, 400)


def test_a_damaged_table_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "run", 400, planned=900)
    (path / "evaluations.csv").write_text("timesteps,episode\n0,0\n")
    state = state_of(planned(path, 900), [], None)
    assert "evaluations.csv: no column" in state.reason


def test_the_speed_is_that_of_learning(tmp_path: Path) -> None:
    # Quick random steps first, then two seconds a step, of which the last count.
    clock = pd.Series({0: 0.0, 100: 1.0, 200: 201.0, 300: 401.0})
    assert seconds_per_step(clock, 100) == pytest.approx(2)
    assert seconds_per_step(clock, 300) is None
    assert seconds_per_step(pd.Series(dtype=float), 0) is None
