"""Longer and shorter than before, and folders that something has damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.experiment.helpers import assert_same, folder_of, parameters, steps_in, train


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


def test_the_model_loads_without_a_compiler(tmp_path: Path) -> None:
    from snnrl.agents import TD3
    from snnrl.experiment.checkpoint import save_model

    kernels = {"net_arch": [8], "kernel": "compile"}
    agent = TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=kernels, buffer_size=10)
    save_model(tmp_path / "model.zip", agent)
    assert agent.policy_kwargs["kernel"] == "compile"
    loaded = TD3.load(tmp_path / "model.zip")
    assert loaded.actor.network.kernel == "naive"
