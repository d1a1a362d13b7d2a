"""Interrupted runs in environments whose state hangs together, and what is said of others."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from snnrl.envs import Stateful
from tests.env.test_earlier_state import earlier_state
from tests.experiment.helpers import assert_same_run, folder_of, train
from tests.experiment.stopped import crash_at

SETTINGS = ("checkpoint.every=10", "evaluation.episodes=1", "algo.learning_starts=60")
"""Random actions, which come from the action space, before and after the crash."""


@pytest.mark.parametrize(
    ("name", "n_envs"),
    [
        ("Shifted-v0", 1),
        pytest.param("Shifted-v0", 2, marks=pytest.mark.slow),
        pytest.param("Samples-v0", 1, marks=pytest.mark.slow),
    ],
)
def test_a_crash(name: str, n_envs: int, tmp_path: Path) -> None:
    settings = (f"env.id=tests.state_envs:{name}", f"env.n_envs={n_envs}", *SETTINGS)
    crash_at(36, tmp_path / "crashed", *settings)
    for folder in ("crashed", "whole"):
        assert train(tmp_path / folder, *settings) == 0
    assert_same_run(*(folder_of(tmp_path / folder, *settings) for folder in ("crashed", "whole")))


def test_a_state_that_is_lost_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("env.id=tests.state_envs:Hides-v0", *SETTINGS)
    crash_at(78, tmp_path, *settings)
    said = capsys.readouterr().err
    assert said.count("its state cannot be saved any more") == 1
    assert (
        "tests.state_envs:Hides-v0: its state cannot be saved any more, so a run resumed "
        "from step 50 starts new episodes and is not identical: Hides.log (cannot pickle "
        "'generator' object)"
    ) in said
    assert train(tmp_path, *settings) == 0
    assert "its state cannot be restored, so a new episode starts" in capsys.readouterr().out


def test_a_state_of_an_earlier_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("env.id=tests.state_envs:Shifted-v0", *SETTINGS)
    with patch.object(Stateful, "get_state", lambda env: earlier_state(env.env)):
        crash_at(36, tmp_path, *settings)
    assert train(tmp_path, *settings) == 2
    assert capsys.readouterr().err.endswith(
        "save-3: an earlier version saved the environment's state, without what refers to Earns; "
        "remove the run folder to start over\n"
    )
