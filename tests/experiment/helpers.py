"""Runs that take a second or two."""

from __future__ import annotations

import csv
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from snnrl.agents import LEARNERS
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.train import main

SMALL = (
    "env=inverted_pendulum",
    "kernel=naive",
    "actor.hidden=[8]",
    "actor.time_steps=2",
    "critic.hidden=[8]",
    "algo.batch_size=8",
    "algo.buffer_size=1000",
    "algo.learning_starts=20",
    "total_steps=100",
    "evaluation.every=50",
    "evaluation.episodes=2",
    "bn.recalibrate_every=40",
    "bn.recalibrate_batches=2",
    "tracking.mode=disabled",
)


NOT_IN_SMALL = {
    "actor=ann": ("actor.time_steps", "bn."),
    "algo=ppo": ("algo.buffer_size", "algo.learning_starts", "bn.recalibrate"),
    "algo=dqn": ("critic.hidden", "env=inverted_pendulum"),
    "critic=none": ("critic.hidden",),
    "tracking=none": ("tracking.mode",),
    "tracking=tensorboard": ("tracking.mode",),
}
"""Settings that a choice does not have."""

ALSO_SMALL = {"algo=ppo": ("algo.n_steps=16",)}


def slow_case(*values: Any) -> Any:
    """A case of a parametrised test that only ``make test-all`` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def arguments(results_dir: Path, *changes: str) -> list[str]:
    """A command line of the train command; what comes later wins."""
    small = list(SMALL)
    for choice in NOT_IN_SMALL:
        if any(change.startswith(choice) for change in changes):
            small = [text for text in small if not text.startswith(NOT_IN_SMALL[choice])]
            small += ALSO_SMALL.get(choice, ())
    by_key = {
        text.partition("=")[0]: text for text in (*small, f"results_dir={results_dir}", *changes)
    }
    return list(by_key.values())


def train(results_dir: Path, *changes: str) -> int:
    """Run the command without its estimate of the time it takes; its exit status."""
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        return main(arguments(results_dir, *changes))


def folder_of(results_dir: Path, *changes: str) -> RunFolder:
    """Where the run of :func:`train` lives."""
    cfg = deepcopy(_composed(*arguments(Path("results"), *changes)))
    cfg.results_dir = str(results_dir)
    return RunFolder(cfg)


@cache
def _composed(*overrides: str) -> DictConfig:
    """Hydra takes half a second for it."""
    return compose_config(overrides)


def rows_of(folder: RunFolder, table: str) -> list[dict[str, str]]:
    with (folder.path / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps_in(folder: RunFolder, table: str) -> list[int]:
    """The steps that a table has rows of, each once."""
    return list(dict.fromkeys(int(row["timesteps"]) for row in rows_of(folder, table)))


def parameters(model: Path) -> dict[str, Any]:
    """Name -> number or tensor: networks, statistics and optimisers of a saved agent."""
    flat: dict[str, Any] = {}

    def walk(node: Any, name: str) -> None:
        if isinstance(node, list):
            node = dict(enumerate(node))
        if not isinstance(node, dict):
            flat[name] = node
            return
        for key, child in node.items():
            walk(child, f"{name}.{key}")

    algo = OmegaConf.load(model.parent / "config.yaml")["algo"]["name"]
    agent = LEARNERS[algo].load(model, device="cpu")
    walk({name: dict(state) for name, state in agent.get_parameters().items()}, "")
    return flat


def assert_same_run(ours: RunFolder, theirs: RunFolder) -> None:
    """The same weights, evaluations and errors of the statistics, to the last bit."""
    for name in ("evaluations.csv", "statistics_error.csv"):
        assert _contents(ours, name) == _contents(theirs, name)
    assert steps_in(ours, "progress") == steps_in(theirs, "progress")
    assert_same(parameters(ours.model), parameters(theirs.model))


def assert_same_tables_and_models(ours: RunFolder, theirs: RunFolder) -> None:
    """:func:`assert_same_run`; every cell of progress but for clocks, and the best model too."""
    assert_same_run(ours, theirs)
    for row, other in zip(rows_of(ours, "progress"), rows_of(theirs, "progress"), strict=True):
        assert _without_clocks(row) == _without_clocks(other)
    assert_same(parameters(ours.best_model), parameters(theirs.best_model))


def _without_clocks(row: dict[str, str]) -> dict[str, str]:
    # Columns come in the order in which rows brought them.
    return {name: cell for name, cell in row.items() if cell and not name.startswith("time/")}


def _contents(folder: RunFolder, name: str) -> bytes | None:
    path = folder.path / name
    return path.read_bytes() if path.exists() else None


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not _equal(ours[name], theirs[name])]
    assert not different


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    return bool(ours == theirs)
