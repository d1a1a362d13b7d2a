"""Environments whose state cannot be saved: checkpoints between episodes, or a line about it."""

from __future__ import annotations

import signal
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
import pytest

from snnrl.envs.state import Stateful
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.checkpoint.manifest import numbered, read_manifest
from snnrl.experiment.checkpoint.save import load_checkpoint
from snnrl.experiment.progress import Progress
from tests.envs import Follow
from tests.experiment.helpers import assert_same_run, folder_of, train
from tests.experiment.stopped import crash_at

SETTINGS = ["env.id=Opaque-v0", "checkpoint.every=10", "evaluation.episodes=1"]


class Opaque(Follow):
    """Episodes of seven steps, and something that cannot be pickled."""

    def __init__(self, **kwargs: Any):
        super().__init__(steps=7, **kwargs)
        self.renderer = (number for number in ())


@pytest.fixture(scope="module", autouse=True)
def _register() -> None:
    if "Opaque-v0" not in gymnasium.registry:
        gymnasium.register("Opaque-v0", Opaque)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        [*SETTINGS, "algo=sac", "algo.buffer_size=30"],
        ["env.id=LunarLander-v3", "algo=dqn", "checkpoint.every=40", "total_steps=260"],
    ],
)
def test_a_crash(settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "env.id=LunarLander-v3" in settings:
        pytest.importorskip("Box2D")
        settings = [*settings, "evaluation.every=1000", "evaluation.episodes=1"]
    step = 230 if "total_steps=260" in settings else 78
    crash_at(step, tmp_path / "crashed", *settings)
    assert "so checkpoints wait for the end of an episode" in capsys.readouterr().err
    assert train(tmp_path / "crashed", *settings) == 0
    out = capsys.readouterr().out
    assert "resuming from step" in out
    assert "cannot be restored" not in out
    assert train(tmp_path / "whole", *settings) == 0
    assert_same_run(*(folder_of(tmp_path / name, *settings) for name in ("crashed", "whole")))


def test_checkpoints_stand_between_episodes(tmp_path: Path) -> None:
    crash_at(78, tmp_path, *SETTINGS)
    saves = numbered(folder_of(tmp_path, *SETTINGS).checkpoint).values()
    # Due at 60 and 70.
    assert [read_manifest(save).step for save in saves] == [70, 63]


@pytest.mark.slow
def test_a_signal_waits_for_the_end_of_the_episode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def step_to(progress: Progress, step: int) -> None:
        if step == 45:
            signal.raise_signal(signal.SIGTERM)

    with patch.object(Progress, "step_to", step_to):
        assert train(tmp_path / "stopped", *SETTINGS) == 143
    assert "stopped at step 49 and saved" in capsys.readouterr().err
    assert train(tmp_path / "stopped", *SETTINGS) == 0
    assert train(tmp_path / "whole", *SETTINGS) == 0
    assert_same_run(*(folder_of(tmp_path / name, *SETTINGS) for name in ("stopped", "whole")))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("change", ["algo.train_freq=3", "algo=ppo"])
def test_where_a_run_cannot_go_on_identically_it_says_so(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_it_says_so([*SETTINGS, change], tmp_path, capsys)


def test_new_episodes_are_other_ones_than_at_the_start(tmp_path: Path) -> None:
    settings = [*SETTINGS, "algo.train_freq=3"]
    crash_at(38, tmp_path, *settings)
    folder = folder_of(tmp_path, *settings)
    starts = []
    for _ in range(2):
        with closing(build_training_env(folder.cfg)) as env:
            starts.append(load_checkpoint(folder.checkpoint, folder.cfg, env).agent._last_obs)
    with closing(build_training_env(folder.cfg)) as env:
        agent = build_agent(folder.cfg, env)
        assert agent.env is not None
        first = agent.env.reset()
    np.testing.assert_array_equal(*starts)
    assert not np.array_equal(starts[0], first)


@pytest.mark.slow
def test_several_environments_cannot_go_on_identically(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("Box2D")
    settings = ["env.id=LunarLander-v3", "algo=dqn", "env.n_envs=2", "evaluation.episodes=1"]
    assert_it_says_so(settings, tmp_path, capsys)


def assert_it_says_so(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*settings, "checkpoint.every=12"]
    crash_at(78, tmp_path, *settings)
    said = ": its state cannot be saved, so a resumed run starts new episodes"
    assert said in capsys.readouterr().err
    assert train(tmp_path, *settings) == 0
    assert "its state cannot be restored, so a new episode starts" in capsys.readouterr().out


class Counts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts resets, which a restored one has not seen."""

    def __init__(self, env: gymnasium.Env[Any, Any]):
        super().__init__(env)
        self.resets = 0
        self.name = lambda: "a function is its constructor's"

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        self.resets += 1
        return super().reset(**given)


def test_wrappers_keep_their_state() -> None:
    env, restored = (Stateful(Counts(Opaque())) for _ in range(2))
    env.reset(seed=3)
    for _ in range(4):
        env.reset()
    state = env.get_state()
    assert state is not None
    restored.reset(seed=9)
    assert restored.set_state(state) is None
    assert restored.get_wrapper_attr("resets") == 5
    assert restored.get_state() == state
    np.testing.assert_array_equal(env.reset()[0], restored.reset()[0])
    assert restored.get_wrapper_attr("resets") == 6


def test_a_wrapper_s_state_that_cannot_be_pickled_is_named() -> None:
    env, restored = (Stateful(Counts(Opaque())) for _ in range(2))
    for each in (env, restored):
        each.reset(seed=3)
        each.env.numbers = (number for number in ())
    reason = restored.set_state(env.get_state())
    assert reason == "Counts.numbers cannot be pickled, so it is as at the start"
