"""Checkpoints that are damaged, of somebody else, or do not fit on the disk."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.checkpoint import disk_usage, manifest
from snnrl.experiment.checkpoint.checksums import Damaged
from snnrl.experiment.checkpoint.disk_usage import checkpoint_bytes, disk_space, in_bytes
from snnrl.experiment.checkpoint.manifest import newest_intact, numbered, read_manifest
from snnrl.experiment.checkpoint.save import Checkpoints, run_id
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.progress import Progress
from tests.experiment.helpers import arguments, assert_same_run, folder_of, slow_case, train
from tests.experiment.stopped import SHORT, Stopped

CURRENT = ["save-2/agent.zip", "save-2/state.pt", "save-2/manifest.json"]
OWN_SEGMENT = "replay/segment-10-20.npz"
SHARED_SEGMENT = "replay/segment-0-10.npz"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return Stopped(tmp_path_factory.mktemp("stopped"))


def flip(path: Path, place: float = 0.5) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def contents(folder: RunFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_last_two_are_kept_and_they_share_segments(stopped: Stopped, tmp_path: Path) -> None:
    folder = stopped.copy(tmp_path)
    files = {str(p.relative_to(folder.checkpoint)) for p in folder.checkpoint.rglob("*.*")}
    older = {name.replace("save-2", "save-1") for name in CURRENT}
    assert files == {*CURRENT, *older, OWN_SEGMENT, SHARED_SEGMENT}
    older_manifest, newer = (read_manifest(folder.checkpoint / f"save-{n}") for n in (1, 2))
    assert (older_manifest.step, newer.step) == (10, 20)
    assert older_manifest.segments == newer.segments[:1]
    assert train(tmp_path, *SHORT) == 0
    files = {str(p.relative_to(folder.checkpoint)) for p in folder.checkpoint.rglob("segment*")}
    # Those of steps 40 and 45, of which the first needs rows 15 to 40.
    assert [path.name for path in numbered(folder.checkpoint).values()] == ["save-5", "save-4"]
    spans = ["10-20", "20-25", "25-30", "30-40", "40-45"]
    assert files == {f"replay/segment-{span}.npz" for span in spans}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", [*CURRENT, OWN_SEGMENT])
def test_a_damaged_checkpoint_and_the_one_before_is_used(
    name: str, stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.copy(tmp_path)
    flip(folder.checkpoint / name)
    assert train(tmp_path, *SHORT) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if ": damaged (" in line]
    (line,) = said
    assert line.startswith(f"{folder.checkpoint}: damaged (save-2: {Path(name).name} ")
    assert "the previous checkpoint, of step 10, is intact and is used instead" in line
    assert_same_run(folder, stopped.whole)
    # The damaged one is gone, and its segment was written again.
    assert newest_intact(folder.checkpoint) is not None
    assert "save-2" not in [path.name for path in numbered(folder.checkpoint).values()]


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize("name", [*CURRENT, OWN_SEGMENT])
def test_every_damage_is_found(
    name: str, damage: Callable[[Path], None], stopped: Stopped, tmp_path: Path
) -> None:
    folder = stopped.copy(tmp_path)
    damage(folder.checkpoint / name)
    found = newest_intact(folder.checkpoint)
    assert found is not None
    assert found[0].name == "save-1"
    (problem,) = found[2]
    assert Path(name).name in problem


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", [*CURRENT, OWN_SEGMENT])
def test_a_bit_anywhere(name: str, stopped: Stopped, tmp_path: Path) -> None:
    folder = stopped.copy(tmp_path)
    path = folder.checkpoint / name
    intact, expected = path.read_bytes(), read_manifest(folder.checkpoint / "save-2")
    for place in range(50):
        flip(path, place / 50)
        found = newest_intact(folder.checkpoint)
        assert found is not None
        # A space of the manifest may have become another character that means nothing.
        assert found[0].name == "save-1" or found[1] == expected
        assert found[0].name == "save-1" or name.endswith("manifest.json")
        path.write_bytes(intact)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("names", [[SHARED_SEGMENT], ["save-1/state.pt", "save-2/agent.zip"]])
def test_no_whole_checkpoint_is_one_line_and_nothing_is_overwritten(
    names: list[str], stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.copy(tmp_path)
    for name in names:
        flip(folder.checkpoint / name)
    before = contents(folder)
    assert train(tmp_path, *SHORT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {folder.checkpoint}: damaged (save-2: ")
    assert "; save-1: " in line
    assert line.endswith("remove the run folder to start over")
    assert contents(folder) == before
    with pytest.raises(Damaged):
        Checkpoints(folder.checkpoint, run_id(folder.cfg))


def test_a_finished_run_with_a_damaged_checkpoint_stays_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "total_steps=30") == 0
    folder = folder_of(tmp_path)
    cut(folder.checkpoint / "save-1" / "agent.zip")
    before = contents(folder)
    capsys.readouterr()
    assert train(tmp_path, "total_steps=50") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "agent.zip has " in line
    assert contents(folder) == before


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("changes", [["algo.gamma=0.9"], ["seed=1"]])
def test_the_checkpoint_of_another_run_is_refused(
    changes: list[str], stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = stopped.copy(tmp_path)
    ours = folder_of(tmp_path, *SHORT, *changes)
    shutil.copytree(theirs.checkpoint, ours.checkpoint)
    before = contents(ours)
    assert train(tmp_path, *SHORT, *changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"belongs to the run {run_id(theirs.cfg)}; expected {run_id(ours.cfg)}" in line
    assert {path: data for path, data in contents(ours).items() if path.name != ".lock"} == before


def test_a_checkpoint_of_an_earlier_version(
    stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files in ``checkpoint/`` itself, without a manifest."""
    folder = stopped.copy(tmp_path)
    for path in (folder.checkpoint / "save-2").iterdir():
        path.rename(folder.checkpoint / path.name)
    for path in folder.checkpoint.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    assert_refused_as_another_version(folder, capsys)


def test_a_checkpoint_of_a_later_version(
    stopped: Stopped,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = stopped.copy(tmp_path)
    monkeypatch.setattr(manifest, "FORMAT", manifest.FORMAT + 1)
    assert_refused_as_another_version(folder, capsys)


def assert_refused_as_another_version(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    assert train(Path(folder.cfg.results_dir), *SHORT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "was written by another version; remove the run folder to start over" in line
    assert contents(folder) == before


def test_a_whole_checkpoint_that_cannot_be_understood(
    stopped: Stopped, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.copy(tmp_path)
    save = folder.checkpoint / "save-2"
    (save / "state.pt").write_bytes(b"something else")
    content = json.loads((save / "manifest.json").read_bytes())
    del content["crc32"]
    content["files"]["state.pt"] = [14, zlib.crc32(b"something else")]
    crc = zlib.crc32(json.dumps(content, sort_keys=True).encode())
    (save / "manifest.json").write_text(json.dumps({**content, "crc32": crc}))
    assert train(tmp_path, *SHORT) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{save}: cannot be read (UnpicklingError)" in line


# What is lost while the run goes on


def lose(path: Path) -> None:
    path.unlink()


def lose_all(path: Path) -> None:
    shutil.rmtree(path.parent.parent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "damage"), [(12, flip), slow_case(12, lose_all), (28, lose), slow_case(28, cut)]
)
def test_a_segment_that_is_lost_during_a_run_is_written_again(
    step: int,
    damage: Callable[[Path], None],
    stopped: Stopped,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At step 28 the buffer has a part of the segment's rows no more."""
    folder, spoiled = folder_of(tmp_path, *SHORT), set[str]()
    original = Progress.step_to

    def step_to(progress: Progress, timesteps: int) -> None:
        original(progress, timesteps)
        if timesteps == step:
            (*_, oldest) = sorted(folder.checkpoint.glob("replay/*"), reverse=True)
            spoiled.add(oldest.name)
            damage(oldest)
        if timesteps == step + 9:
            saved = newest_intact(folder.checkpoint)
            assert saved is not None
            assert saved[1].step == step // 10 * 10 + 10
            assert saved[2] == []

    monkeypatch.setattr(Progress, "step_to", step_to)
    assert train(tmp_path, *SHORT) == 0
    assert spoiled
    assert f"{spoiled.pop()}: another program changed it" in capsys.readouterr().err
    assert_same_run(folder, stopped.whole)
    monkeypatch.undo()
    for results_dir in (tmp_path, tmp_path / "whole"):
        assert train(results_dir, *SHORT, "total_steps=55") == 0
    assert_same_run(folder, folder_of(tmp_path / "whole", *SHORT))


# Disk space


@pytest.mark.slow
def test_it_says_how_much_space_checkpoints_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = re.compile(
        r"^checkpoints will take up to 2 MB on disk, [\d.]+ [MG]B free$", re.MULTILINE
    )
    assert train(tmp_path, "total_steps=30") == 0
    assert said.search(capsys.readouterr().out)
    (folder_of(tmp_path).path / "DONE").unlink()
    assert train(tmp_path, "total_steps=40") == 0
    assert said.search(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 MB"),
        (99_000_001, "100 MB"),
        (200_000_000, "0.2 GB"),
        (9_900_000_000, "9.9 GB"),
        (66_400_000_000, "66 GB"),
    ],
)
def test_bytes_in_words(count: int, text: str) -> None:
    assert in_bytes(count) == text


def test_more_than_is_free_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config(arguments(tmp_path / "not" / "there"))
    agent = build_agent(cfg, build_training_env(cfg))
    assert disk_space(cfg, agent).endswith(" free")
    monkeypatch.setattr(disk_usage, "checkpoint_bytes", lambda cfg, agent: 10**18)
    assert "expected more, or the run will stop when the disk is full" in disk_space(cfg, agent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["algo.buffer_size=10"],
        ["algo.buffer_size=35", "env.n_envs=3", "algo.train_freq=2"],
        ["algo.buffer_size=1000"],
        ["algo=ppo", "algo.n_steps=8"],
    ],
)
def test_checkpoints_never_take_more_than_was_said(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(text.startswith("algo.buffer") for text in settings):
        settings = [*settings, "algo.learning_starts=8"]
    settings = ["env=pendulum", "checkpoint.every=12", "evaluation.episodes=1", *settings]
    cfg = compose_config(arguments(tmp_path, *settings))
    env = build_training_env(cfg)
    said = checkpoint_bytes(cfg, build_agent(cfg, env))
    env.close()
    seen = []

    def rename(path: Path, target: Path) -> Path:
        files = [p for p in path.parent.rglob("*") if p.is_file()]
        headers = 2500 * sum(p.suffix == ".npz" for p in files)
        seen.append(sum(p.stat().st_size for p in files) - headers)
        return original(path, target)

    original = Path.rename
    monkeypatch.setattr(Path, "rename", rename)
    assert train(tmp_path, *settings) == 0
    assert 0 < max(seen) <= said


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """From this file of a checkpoint on, counted from 1, the disk is full."""
    at: list[int] = []
    count = 0
    original = os.fsync

    def fsync(handle: int) -> None:
        nonlocal count
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if "checkpoint" in path.parts and path.is_file():
            count += 1
            if at and count >= at[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    yield at


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("file", [1, 2, 3, 4, 5])
def test_a_full_disk_leaves_the_last_checkpoint(
    file: int,
    full: list[int],
    stopped: Stopped,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Segments 20-25 and 25-30, agent, state, manifest."""
    folder = stopped.copy(tmp_path)
    before = {path: path.read_bytes() for path in folder.checkpoint.rglob("*.*") if path.is_file()}
    full.append(file)
    assert train(tmp_path, *SHORT) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"failed: {folder.checkpoint}: the checkpoint of step 30 ")
    assert "cannot be written (No space left on device); that of step 20 is intact" in line
    after = {path: path.read_bytes() for path in folder.checkpoint.rglob("*.*") if path.is_file()}
    assert after == before
    full[0] = 10**9
    assert train(tmp_path, *SHORT) == 0
    assert_same_run(folder, stopped.whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(
    small_disk: Path,
    stopped: Stopped,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = stopped.copy(small_disk)
    original = Checkpoints.save

    def save(checkpoints: Checkpoints, agent: SpikingAgent, *rest: Any) -> None:
        fill(small_disk / "ballast", leave=20_000)
        original(checkpoints, agent, *rest)

    monkeypatch.setattr(Checkpoints, "save", save)
    assert train(small_disk, *SHORT) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "the checkpoint of step 30 cannot be written (No space left on device)" in line
    assert (folder.path / "FAILED").exists()
    # However often: it may be mended before the next time.
    assert train(small_disk, *SHORT) == 1
    assert not (folder.path / "failures.json").exists()
    monkeypatch.undo()
    (small_disk / "ballast").unlink()
    assert train(small_disk, *SHORT) == 0
    assert "resuming from step 20" in capsys.readouterr().out
    assert_same_run(folder, stopped.whole)


def fill(path: Path, leave: int) -> None:
    """Take what room there is, but for ``leave`` bytes."""
    free = shutil.disk_usage(path.parent).free
    path.write_bytes(b"x" * max(free - leave, 0))
