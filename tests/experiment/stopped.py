"""A run that was killed between two steps, and copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.progress import Progress
from tests.experiment.helpers import folder_of, train

SHORT = [
    "env=pendulum",
    "algo.buffer_size=25",
    "algo.learning_starts=8",
    "algo.batch_size=4",
    "total_steps=45",
    "checkpoint.every=10",
    "evaluation.every=15",
    "evaluation.episodes=1",
    "bn.recalibrate_every=20",
]
"""A checkpoint each ten steps, evaluations between them, and a buffer that wraps."""


class Crash(BaseException):
    """Ends the process as SIGKILL does: nobody catches it."""


def crash_at(step: int, results_dir: Path, *settings: str) -> None:
    """Train until ``step`` has been made and its transition is not yet in the buffer."""
    original = Progress.step_to

    def step_to(progress: Progress, timesteps: int) -> None:
        original(progress, timesteps)
        if timesteps == step:
            raise Crash

    with patch.object(Progress, "step_to", step_to), pytest.raises(Crash):
        train(results_dir, *settings)


class Stopped:
    """A run that was killed at step 25, and the same one that was not.

    :param folder: for both
    """

    def __init__(self, folder: Path):
        self._results = folder / "stopped"
        crash_at(25, self._results, *SHORT)
        assert train(folder / "whole", *SHORT) == 0
        self.whole = folder_of(folder / "whole", *SHORT)

    def copy(self, results_dir: Path) -> RunFolder:
        """A copy of the run that was killed; its checkpoints are those of steps 10 and 20."""
        shutil.copytree(self._results, results_dir, dirs_exist_ok=True)
        return folder_of(results_dir, *SHORT)
