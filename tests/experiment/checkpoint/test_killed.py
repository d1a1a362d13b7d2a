"""A real training process, killed at random moments and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import snnrl
from snnrl.experiment.checkpoint.manifest import numbered
from snnrl.experiment.folder.run_folder import RunFolder
from tests.experiment.helpers import arguments, assert_same_run, folder_of, train

TOP = Path(snnrl.__file__).parent.parent

SHARED = [
    "evaluation.episodes=1",
    "evaluation.every=70",
    "bn.recalibrate_every=60",
    "algo.learning_starts=30",
    "algo.buffer_size=150",
    "total_steps=600",
    "checkpoint.every=8",
]
ROLLOUTS = [text for text in SHARED if not text.startswith(("algo.", "bn."))]
TD3 = ["algo=td3", "env=pendulum", *SHARED]
KILLS = 4


def command(results_dir: Path, settings: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "snnrl.train", *arguments(results_dir, *settings)],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def newest(checkpoint: Path) -> int:
    return next(iter(numbered(checkpoint)), 0)


def ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends by itself in that time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def kill_at_random(
    process: subprocess.Popen[bytes], checkpoint: Path, generator: np.random.Generator
) -> bool:
    """Let it write one to six checkpoints, and kill it up to a fifth of a second later.

    :return: whether it was still alive then
    """
    enough = newest(checkpoint) + int(generator.integers(1, 7))
    while newest(checkpoint) < enough:
        if ended(process, 0.005):
            return False
    if ended(process, float(generator.uniform(0, 0.2))):
        return False
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return True


def kill_often(
    folder: RunFolder, settings: list[str], kills: int, generator: np.random.Generator
) -> None:
    for _ in range(kills):
        process = command(Path(folder.cfg.results_dir), settings)
        assert kill_at_random(process, folder.checkpoint, generator)
    assert not (folder.path / "DONE").exists()


@pytest.mark.slow
def test_killed_once(tmp_path: Path) -> None:
    settings = [*TD3, "total_steps=300"]
    folder = folder_of(tmp_path / "killed", *settings)
    kill_often(folder, settings, 1, np.random.default_rng(0))
    assert train(tmp_path / "killed", *settings) == 0
    assert train(tmp_path / "whole", *settings) == 0
    assert_same_run(folder, folder_of(tmp_path / "whole", *settings))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "seed"),
    [
        (TD3, 1),
        (["algo=sac", "env=pendulum", "critic=spiking", *SHARED], 2),
        (["algo=dqn", "env=cartpole", *SHARED], 3),
        (["algo=ppo", "env=pendulum", *ROLLOUTS], 4),
        ([*TD3, "env.n_envs=2"], 5),
    ],
)
def test_killed_several_times(settings: list[str], seed: int, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "killed", *settings)
    kill_often(folder, settings, KILLS, np.random.default_rng(seed))
    assert command(tmp_path / "killed", settings).wait() == 0
    assert train(tmp_path / "whole", *settings) == 0
    assert_same_run(folder, folder_of(tmp_path / "whole", *settings))
