from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from snnrl.analysis.wandb_runs import fetch_runs
from snnrl.errors import UserError


class StubRun:
    """What ``wandb.Api().runs`` yields, as far as it is used."""

    def __init__(
        self,
        id: str,
        *,
        bn: str = "carebn",
        seed: int = 0,
        state: str = "finished",
        config: Mapping[str, Any] | None = None,
        history: list[dict[str, Any]] | None = None,
        summary: Mapping[str, Any] | None = None,
    ):
        self.id, self.state = id, state
        settings = {"seed": seed, "total_steps": 100, "env": {"id": "Pendulum-v1"}}
        self.config = {**settings, "bn": {"name": bn}} if config is None else config
        self.summary = summary or {}
        self.history = HISTORY if history is None else history

    def scan_history(self, keys: list[str]) -> Iterator[dict[str, Any]]:
        """As W&B: the rows that have all the keys."""
        for row in self.history:
            if all(key in row for key in keys):
                yield {key: row[key] for key in keys}


class StubApi:
    def __init__(self, runs: list[StubRun]):
        self.found = runs
        self.asked: list[tuple[str, Any]] = []

    def runs(self, path: str, filters: Any = None) -> list[StubRun]:
        self.asked.append((path, filters))
        return self.found


HISTORY = [
    {"timesteps": 0, "evaluation/return": -900.0, "evaluation/length": 200.0},
    {"timesteps": 0, "time/time_elapsed": 1},
    {"timesteps": 50, "train/loss": 1.0},
    {"timesteps": 100, "evaluation/return": -200.0, "time/time_elapsed": 30},
]


def test_a_run_with_a_history() -> None:
    api = StubApi([StubRun("abc", seed=3)])
    (run,), notes = fetch_runs("me/project/Pendulum-v1/td3", api)
    assert api.asked == [("me/project", {"group": "Pendulum-v1/td3"})]
    assert (run.name, run.environment, run.seed) == ("wandb:me/project/abc", "Pendulum-v1", 3)
    assert (run.setting("bn.name"), run.status, run.steps) == ("carebn", "done", 100)
    assert run.evaluations["return"].tolist() == [-900, -200]
    assert run.clock.to_dict() == {0: 1, 100: 30}
    assert run.statistics_error is None
    (note,) = notes
    assert "no statistics error, no versions" in note


def test_what_a_resumed_run_logged_twice_counts_once() -> None:
    history = [{"timesteps": t, "evaluation/return": float(r)} for r, t in enumerate((0, 9, 9, 18))]
    (run,), _ = fetch_runs("me/project", StubApi([StubRun("abc", history=history)]))
    assert run.evaluations["timesteps"].tolist() == [0, 9, 18]
    assert run.evaluations["return"].tolist() == [0, 2, 3]


def test_a_run_with_a_summary_only() -> None:
    summary = {"timesteps": 100, "evaluation/return": -150.0, "evaluation/length": 200}
    source = StubRun("abc", history=[], summary=summary)
    (run,), notes = fetch_runs("me/project", StubApi([source]))
    assert run.evaluations[["timesteps", "return"]].to_numpy().tolist() == [[100, -150]]
    assert notes[1] == "no history of evaluations, the last one only: wandb:me/project/abc"


@pytest.mark.parametrize(
    ("state", "status"),
    [("failed", "failed"), ("crashed", "unfinished"), ("running", "unfinished")],
)
def test_runs_that_are_not_done(state: str, status: str) -> None:
    (run,), _ = fetch_runs("me/project", StubApi([StubRun("abc", state=state, history=[])]))
    assert run.status == status
    assert not run.has_result
    assert bool(run.reason) == (status == "failed")


def test_other_runs_of_the_project_are_left_out_and_named() -> None:
    foreign = StubRun("xyz", config={"lr": 1})
    runs, notes = fetch_runs("me/project", StubApi([foreign, StubRun("abc")]))
    assert [run.name for run in runs] == ["wandb:me/project/abc"]
    assert "not a run of snnrl, left out: wandb:me/project/xyz" in notes


class Unreachable:
    def runs(self, path: str, filters: Any = None) -> list[StubRun]:
        raise ValueError(f"Could not find {path}\nand more")


NAN = [{"timesteps": 0, "evaluation/return": math.nan}]


@pytest.mark.parametrize(
    ("source", "api", "message"),
    [
        ("project", StubApi([]), "expected entity/project or entity/project/group"),
        ("/project", StubApi([]), "expected entity/project or entity/project/group"),
        ("me/project", StubApi([]), "--wandb me/project: no run there"),
        ("me/p", StubApi([StubRun("a", config={})]), "none of its 1 runs is a run of snnrl"),
        (
            "me/p",
            Unreachable(),
            "--wandb me/p: W&B answered 'Could not find me/p and more'",
        ),
        ("me/p", StubApi([StubRun("a", history=[])]), "wandb:me/p/a: finished, and has no"),
        ("me/p", StubApi([StubRun("a", history=NAN)]), "wandb:me/p/a: expected finite numbers"),
    ],
)
def test_mistakes(source: str, api: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch_runs(source, api)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
