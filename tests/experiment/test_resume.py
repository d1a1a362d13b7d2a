"""A run that was stopped and started again ends as if it had not been stopped."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from snnrl.experiment import checkpoint
from snnrl.experiment.checkpoint import find_checkpoint
from snnrl.experiment.folder import RunFolder
from snnrl.experiment.progress import Progress
from tests.experiment.helpers import (
    arguments,
    assert_same,
    folder_of,
    parameters,
    steps_in,
    train,
)

Stop = Callable[[int, Callable[[], None]], None]
Whole = Callable[..., RunFolder]
PENDULUM = ["env=pendulum", "evaluation.episodes=1"]


class Crash(BaseException):
    """Ends the process as SIGKILL does: nobody catches it."""


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Do something once, in the middle of an environment step."""

    def plan(step: int, action: Callable[[], None]) -> None:
        original = Progress.step_to

        def step_to(progress: Progress, timesteps: int) -> None:
            original(progress, timesteps)
            if timesteps == step:
                monkeypatch.setattr(Progress, "step_to", original)
                action()

        monkeypatch.setattr(Progress, "step_to", step_to)

    return plan


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run that nothing stops; each once."""
    results_dir = tmp_path_factory.mktemp("whole")

    def run(*settings: str) -> RunFolder:
        assert train(results_dir, *settings) == 0
        return folder_of(results_dir, *settings)

    return run


def assert_same_run(ours: RunFolder, theirs: RunFolder) -> None:
    assert contents(ours, "evaluations.csv") == contents(theirs, "evaluations.csv")
    assert contents(ours, "statistics_error.csv") == contents(theirs, "statistics_error.csv")
    assert steps_in(ours, "progress") == steps_in(theirs, "progress")
    assert_same(parameters(ours.model), parameters(theirs.model))


def contents(folder: RunFolder, name: str) -> bytes | None:
    path = folder.path / name
    return path.read_bytes() if path.exists() else None


def crash() -> None:
    raise Crash


@pytest.mark.parametrize(
    ("settings", "number", "status"),
    [
        (["algo=td3"], signal.SIGTERM, 143),
        ([*PENDULUM, "algo=ddpg", "algo.train_freq=3"], signal.SIGINT, 130),
    ],
)
def test_a_signal(
    settings: list[str],
    number: signal.Signals,
    status: int,
    tmp_path: Path,
    at_step: Stop,
    whole: Whole,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = folder_of(tmp_path / "stopped", *settings)
    for step in (50, 67):  # on an evaluation, and between two
        at_step(step, lambda: signal.raise_signal(number))
        assert train(tmp_path / "stopped", *settings) == status
        assert "the same command goes on" in capsys.readouterr().err.splitlines()[-1]
        assert not (stopped.path / "DONE").exists()
        assert not (stopped.path / "FAILED").exists()
        assert stopped.model.exists()
    assert train(tmp_path / "stopped", *settings) == 0
    assert "going on from step 6" in capsys.readouterr().out
    assert_same_run(stopped, whole(*settings))


@pytest.mark.parametrize(
    "settings",
    [
        [*PENDULUM, "algo=td3", "checkpoint.every=45"],
        ["algo=ddpg", "checkpoint.every=45", "bn=re_only"],
        ["actor=ann", "bn.recalibrate_every=null", "checkpoint.every=45"],
        pytest.param(["kernel=compile", "checkpoint.every=45"], marks=pytest.mark.slow),
        ["algo=dqn", "env=cartpole", "checkpoint.every=45", "algo.target_update_updates=7"],
        [*PENDULUM, "algo=sac", "critic=spiking", "checkpoint.every=45"],
        [*PENDULUM, "algo=ppo", "critic=spiking", "checkpoint.every=45"],
        ["algo=ppo", "env=cartpole", "bn=vanilla", "checkpoint.every=45", "algo.n_steps=24"],
        [*PENDULUM, "algo=td3", "checkpoint.every=45", "env.n_envs=2"],
        [*PENDULUM, "algo=ppo", "checkpoint.every=45", "env.n_envs=2", "algo.n_steps=8"],
    ],
)
def test_a_crash(settings: list[str], tmp_path: Path, at_step: Stop, whole: Whole) -> None:
    crashed = folder_of(tmp_path / "crashed", *settings)
    at_step(78, crash)
    with pytest.raises(Crash):
        train(tmp_path / "crashed", *settings)
    assert crashed.checkpoint.exists()
    assert train(tmp_path / "crashed", *settings) == 0
    assert_same_run(crashed, whole(*settings))


def test_a_crash_before_the_first_checkpoint_starts_afresh(
    tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    at_step(60, crash)
    with pytest.raises(Crash):
        train(tmp_path / "crashed")
    crashed = folder_of(tmp_path / "crashed")
    (crashed.path / "leftover").touch()
    assert train(tmp_path / "crashed") == 0
    assert not (crashed.path / "leftover").exists()
    assert (crashed.path / ".lock").exists()
    assert_same_run(crashed, whole())


def test_sigkill(tmp_path: Path, whole: Whole) -> None:
    script = f"""
import os, signal, sys
from snnrl.experiment.progress import Progress
from snnrl.train import main
Progress.step_to = lambda progress, step: step == 75 and os.kill(os.getpid(), signal.SIGKILL)
main({arguments(tmp_path, "checkpoint.every=30")!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert train(tmp_path) == 0
    assert_same_run(folder_of(tmp_path), whole())


def test_a_second_signal_stops_at_once(
    tmp_path: Path, at_step: Stop, capsys: pytest.CaptureFixture[str]
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    at_step(60, twice)
    assert train(tmp_path) == 130
    assert "stopped at once" in capsys.readouterr().err.splitlines()[-1]
    assert not folder_of(tmp_path).checkpoint.exists()


def test_handlers_are_put_back(tmp_path: Path, at_step: Stop) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    at_step(30, lambda: signal.raise_signal(signal.SIGTERM))
    train(tmp_path)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    "settings",
    [
        ["algo=dqn", "env=cartpole"],
        ["algo=sac"],
        ["algo=ppo", "algo.n_steps=16", "env.n_envs=2"],
    ],
)
def test_a_signal_to_other_algorithms(
    settings: list[str], tmp_path: Path, at_step: Stop, whole: Whole
) -> None:
    stopped = folder_of(tmp_path / "stopped", *settings)
    at_step(66, lambda: signal.raise_signal(signal.SIGTERM))
    assert train(tmp_path / "stopped", *settings) == 143
    assert stopped.model.exists()
    assert train(tmp_path / "stopped", *settings) == 0
    assert_same_run(stopped, whole(*settings))


def test_a_rollout_may_end_beyond_the_last_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["algo=ppo", "algo.n_steps=16", "total_steps=90"]
    assert train(tmp_path, *settings) == 0
    folder = folder_of(tmp_path, *settings)
    assert folder.finished_steps() == 96
    assert train(tmp_path, *settings) == 0
    assert "already done (96 steps)" in capsys.readouterr().out
    # Stopped just before it was marked as done.
    (folder.path / "DONE").unlink()
    assert train(tmp_path, *settings) == 0
    assert folder.finished_steps() == 96
    (folder.path / "DONE").unlink()
    assert train(tmp_path, *settings, "total_steps=80") == 2
    assert "is at step 96 already" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path)
    rewrite(folder.checkpoint / "agent.zip", recalibrated_at=80)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    capsys.readouterr()
    assert train(tmp_path, "total_steps=150") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder.checkpoint}: was written by an earlier version; remove" in line
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
    assert folder.finished_steps() == 100


def rewrite(path: Path, **attributes: object) -> None:
    """Change attributes of a saved agent."""
    with ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    content["data"] = json.dumps({**json.loads(content["data"]), **attributes}).encode()
    with ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)


# Replacing a checkpoint

STAGES = ["mkdir", "agent", "replay", "state", "flush", "away", "remove", "in", "clean"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("after_a_crash", [False, True])
def test_a_crash_while_saving_leaves_a_whole_checkpoint(
    stage: str, after_a_crash: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an earlier crash left the only whole checkpoint under its old name."""
    folder = make_checkpoint(tmp_path)
    old, new = folder.with_name("checkpoint.old"), folder.with_name("checkpoint.new")
    if after_a_crash:
        folder.rename(old)
    agent = FakeAgent()
    crash_at(stage, folder, agent, monkeypatch)
    reached = True
    try:
        checkpoint.save_checkpoint(folder, agent, {})  # type: ignore[arg-type]
        reached = False
    except Crash:
        pass
    found = find_checkpoint(folder)
    assert found is not None
    assert {path.name for path in found.iterdir()} == {"agent.zip", "replay.npz", "state.pt"}
    # Without a checkpoint in place there is none to move away, nor an old one to remove before.
    assert reached or (after_a_crash and stage in ("away", "remove"))
    monkeypatch.undo()
    prepare(monkeypatch)
    checkpoint.save_checkpoint(folder, FakeAgent(b"later"), {})  # type: ignore[arg-type]
    assert find_checkpoint(folder) == folder
    assert (folder / "agent.zip").read_bytes() == b"later"
    assert not old.exists()
    assert not new.exists()


class FakeAgent:
    """Only its files matter here."""

    experience = "replay"
    losses = None

    def __init__(self, content: bytes = b"new"):
        self.content = content

    def save(self, path: Path) -> None:
        path.write_bytes(self.content)


def prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "check_finite", lambda agent: None)
    monkeypatch.setattr(checkpoint, "_save_replay", lambda path, buffer: path.touch())
    monkeypatch.setattr(checkpoint, "_generators", lambda agent: {})
    monkeypatch.setattr(checkpoint, "_replay_of", lambda agent: None)
    monkeypatch.setattr(checkpoint, "_environments", lambda agent: [])
    monkeypatch.setattr(checkpoint, "_discounted_returns", lambda agent: None)


def make_checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("agent.zip", "replay.npz", "state.pt"):
        (folder / name).write_bytes(b"earlier")
    return folder


def crash_at(stage: str, folder: Path, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)
    new = folder.with_name("checkpoint.new")
    rename, rmtree, mkdir = Path.rename, shutil.rmtree, Path.mkdir

    def crashing_rename(path: Path, target: Path) -> Path:
        if stage == {folder: "away", new: "in"}[path]:
            raise Crash
        return rename(path, target)

    def crashing_rmtree(path: Path, ignore_errors: bool = False) -> None:
        if path.name == "checkpoint.old":
            in_place = not new.exists()
            if stage == ("clean" if in_place else "remove"):
                raise Crash
        rmtree(path, ignore_errors=ignore_errors)

    def crashing_mkdir(path: Path, *args: object, **kwargs: object) -> None:
        mkdir(path, parents=True)
        if stage == "mkdir":
            raise Crash

    def fail(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(Path, "rename", crashing_rename)
    monkeypatch.setattr(Path, "mkdir", crashing_mkdir)
    monkeypatch.setattr("snnrl.experiment.checkpoint.shutil.rmtree", crashing_rmtree)
    if stage == "agent":
        monkeypatch.setattr(agent, "save", fail)
    if stage == "replay":
        monkeypatch.setattr(checkpoint, "_save_replay", fail)
    if stage == "state":
        monkeypatch.setattr("snnrl.experiment.checkpoint.torch.save", fail)
    if stage == "flush":
        monkeypatch.setattr(checkpoint, "_flush", fail)
