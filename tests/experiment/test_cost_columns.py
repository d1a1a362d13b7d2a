"""Runs report what an action costs at each evaluation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from snnrl.deploy.cost import cost_of
from snnrl.errors import UserError
from snnrl.experiment import callbacks
from snnrl.experiment.callbacks import Supervisor
from snnrl.experiment.diagnostics import costs
from snnrl.experiment.reproduction.compare import compare_results, compare_tables, is_same
from tests.agents.helpers import small
from tests.experiment.helpers import folder_of, rows_of, train


def test_columns_of_a_run(tmp_path: Path) -> None:
    settings = ["total_steps=50", "evaluation.episodes=1"]
    assert train(tmp_path, *settings) == 0
    evaluated = [
        row
        for row in rows_of(folder_of(tmp_path, *settings), "progress")
        if row["evaluation/return"]
    ]
    assert len(evaluated) == 2
    for row in evaluated:
        operations = [float(row[f"synaptic_operations/layer{i}"]) for i in range(2)]
        assert float(row["cost/synaptic_operations"]) > sum(operations) > 0
        energies = [float(row[f"cost/energy_{name}_nj"]) for name in ("45nm", "measured")]
        assert energies[0] > energies[1] > 0


def test_training_does_not_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ["encoder=population_poisson", "bn.recalibrate_every=20"]
    folders = []
    for name in ("with", "without"):
        assert train(tmp_path / name, *settings) == 0
        folders.append(folder_of(tmp_path / name, *settings))
        monkeypatch.setattr(callbacks, "costs", lambda *_: {})
    columns = [set(rows_of(folder, "progress")[0]) for folder in folders]
    assert {name.partition("/")[0] for name in columns[0] - columns[1]} == {
        "cost",
        "synaptic_operations",
    }
    paths = [folder.path for folder in folders]
    assert is_same(compare_results(*paths))
    assert compare_tables(*paths, "progress.csv").same


def test_an_ordinary_run_has_none(tmp_path: Path) -> None:
    settings = ["actor=ann", "total_steps=30", "evaluation.episodes=1"]
    assert train(tmp_path, *settings) == 0
    first, *_ = rows_of(folder_of(tmp_path, *settings), "progress")
    assert not [name for name in first if name.startswith(("cost/", "synaptic_operations/"))]


def test_values() -> None:
    agent, shown = small("td3"), np.zeros((4, 2), np.float32)
    values, cost = costs(agent, shown), cost_of(agent, shown)
    layers = {layer.name: layer for layer in cost.layers}
    assert values["synaptic_operations/layer1"] == layers["layers.1"].acs
    assert values["cost/synaptic_operations"] == cost.total.acs + cost.total.macs
    assert len(values) == 3 + 3


def test_a_cost_that_is_unknown_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> dict[str, float]:
        raise UserError("cost: decoder (Mine): its operations are unknown")

    monkeypatch.setattr(callbacks, "costs", refuse)
    lines: list[str] = []
    supervisor: Any = SimpleNamespace(
        uncounted=False, model=None, progress=SimpleNamespace(say=lines.append)
    )
    for _ in range(2):
        assert Supervisor._costs(supervisor, np.zeros((1, 2))) == {}
    assert lines == ["cost: decoder (Mine): its operations are unknown; progress.csv has no costs"]
