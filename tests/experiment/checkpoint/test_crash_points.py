"""Wherever a crash meets the writing of a checkpoint, a whole one is left and the run goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.checkpoint.manifest import (
    REPLAY,
    Manifest,
    newest_intact,
    numbered,
    read_manifest,
)
from snnrl.experiment.checkpoint.replay_segments import ARRAYS, load_rows, replay_of, rows_of
from snnrl.experiment.checkpoint.save import Checkpoints, Position, find_checkpoint
from snnrl.experiment.config.compose import compose_config
from tests.experiment.crash_points import CrashPoints
from tests.experiment.helpers import arguments, assert_same_run, train
from tests.experiment.stopped import SHORT, Crash, Stopped

POSITION = Position({"evaluation": 15, "log": 0, "checkpoint": 20})

KINDS = {"open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return Stopped(tmp_path_factory.mktemp("stopped"))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpikingAgent]:
    """At step 20; its buffer holds 25 rows."""
    cfg = compose_config(arguments(tmp_path_factory.mktemp("agent"), *SHORT))
    env = build_training_env(cfg)
    agent = build_agent(cfg, env)
    agent.learn(20, log_interval=None)  # type: ignore[arg-type]
    yield agent
    env.close()


def go_on(agent: SpikingAgent) -> None:
    agent.learn(10, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("earlier", "kinds"),
    [(0, KINDS - {"unlink", "rmdir"}), (1, KINDS - {"unlink", "rmdir"}), (4, KINDS)],
)
def test_a_whole_checkpoint_is_left(
    earlier: int,
    kinds: set[str],
    agent: SpikingAgent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So many checkpoints were written before; the fourth leaves one to remove, with a segment."""
    origin = tmp_path / "origin" / "checkpoint"
    origin.mkdir(parents=True)
    writer = Checkpoints(origin, "run")
    for _ in range(earlier):
        writer.save(agent, POSITION)
        go_on(agent)
    last = newest_intact(origin)
    for at in count():
        folder = tmp_path / str(at) / "checkpoint"
        shutil.copytree(origin, folder)
        checkpoints, points = Checkpoints(folder, "run"), CrashPoints(at)
        with monkeypatch.context() as patched, suppress(Crash):
            points.install(patched)
            checkpoints.save(agent, POSITION)
        found = newest_intact(folder)
        if found is None:
            assert last is None
            assert find_checkpoint(folder) is None
        elif last is None or found[1] != last[1]:
            assert_loads(folder, found[1], agent)
        # The next one goes well, whatever lies about.
        Checkpoints(folder, "run").save(agent, POSITION)
        assert_tidy(folder, agent)
        shutil.rmtree(folder)
        if points.active:
            break
    assert set(points.seen) == kinds
    assert len(points.seen) > 25


def assert_loads(folder: Path, manifest: Manifest, agent: SpikingAgent) -> None:
    """The buffer that comes back is the agent's."""
    assert manifest.step == agent.num_timesteps
    ours = replay_of(agent)
    arrays = {name: np.zeros_like(getattr(ours, name)) for name in ARRAYS}
    loaded: Any = SimpleNamespace(buffer_size=ours.buffer_size, **arrays)
    load_rows(folder / REPLAY, loaded, rows_of(agent), manifest.segments)
    assert (loaded.pos, loaded.full) == (ours.pos, ours.full)
    for name in ARRAYS:
        assert np.array_equal(getattr(loaded, name), getattr(ours, name))


def assert_tidy(folder: Path, agent: SpikingAgent) -> None:
    """The new checkpoint and at most one before it, their files, and nothing else."""
    saves = list(numbered(folder).values())
    manifests = [read_manifest(save) for save in saves]
    assert manifests[0].step == agent.num_timesteps
    assert 1 <= len(saves) <= 2
    needed = {folder / REPLAY / s.name for manifest in manifests for s in manifest.segments}
    own = {save / name for save in saves for name in ("agent.zip", "state.pt", "manifest.json")}
    assert {path for path in folder.rglob("*") if path.is_file()} == needed | own
    assert set(folder.iterdir()) == {*saves, folder / REPLAY}


@pytest.mark.slow
def test_the_run_goes_on_as_if_nothing_had_happened(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Checkpoints.save
    for at in count():
        folder, points = stopped.copy(tmp_path / str(at)), CrashPoints(at)

        def save(
            checkpoints: Checkpoints,
            agent: SpikingAgent,
            *rest: Any,
            points: CrashPoints = points,
        ) -> list[str]:
            with monkeypatch.context() as patched:
                if agent.num_timesteps == 40:
                    points.install(patched)
                return original(checkpoints, agent, *rest)

        with monkeypatch.context() as patched, suppress(Crash):
            patched.setattr(Checkpoints, "save", save)
            train(tmp_path / str(at), *SHORT)
        if points.active:
            break
        assert not (folder.path / "DONE").exists()
        assert train(tmp_path / str(at), *SHORT) == 0
        assert_same_run(folder, stopped.whole)
    assert set(points.seen) == KINDS
