"""``model.zip`` and ``best_model.zip``: saved agents, read only as tensors and numbers.

Stable-Baselines3's ``load`` unpickles the entry ``data`` of the file, which can run arbitrary code.
Here nothing in the file runs.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, ZipFile

from snnrl.errors import UserError
from snnrl.run_format.bounds import MOST_STEPS
from snnrl.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

DATA, WEIGHTS = "data", "policy.pth"
"""Entries that every saved agent of Stable-Baselines3 has."""

STATISTICS = "observation_statistics.json"
"""Entry with mean, variance and count of observations, for agents that have them."""


class SavedModel(NamedTuple):
    """Parts of a trained agent that it acts with.

    :param weights: the state of its policy
    :param timesteps: environment steps that it was trained for
    :param statistics: of its observations, as they stand in the file; ``None`` if there are none
    """

    weights: dict[str, Tensor]
    timesteps: int
    statistics: Any


def is_whole_model(path: Path) -> bool:
    """Return whether a file is a complete saved agent, by the zip's own checksums."""
    try:
        with ZipFile(path) as zipped:
            # Half a file may end with a zip too: one of those that hold the tensors.
            whole = {DATA, WEIGHTS} <= set(zipped.namelist())
            return whole and zipped.testzip() is None
    except (OSError, EOFError, ValueError, RuntimeError, BadZipFile, zlib.error):
        return False


def add_statistics(model: bytes, statistics: Mapping[str, Any]) -> bytes:
    """Return a saved agent with the statistics of its observations as numbers.

    :param model: output of ``agent.save``, which holds them as a pickle
    """
    file = io.BytesIO(model)
    with ZipFile(file, "a") as zipped:
        zipped.writestr(STATISTICS, json.dumps(statistics))
    return file.getvalue()


def read_model(path: Path) -> SavedModel:
    """Read the parts of a trained agent that it acts with, on the CPU.

    :raises UserError: the file is not one that a run has saved
    """
    try:
        with ZipFile(path) as zipped:
            weights = _load(zipped, WEIGHTS)
            steps = json.loads(zipped.read(DATA))["num_timesteps"]
            has_statistics = STATISTICS in zipped.namelist()
            statistics = json.loads(zipped.read(STATISTICS)) if has_statistics else None
        if not isinstance(weights, Mapping) or not 0 <= int(steps) <= MOST_STEPS:
            raise TypeError("no mapping of weights, or no number of steps")
    # Damage can make torch and zipfile raise any exception.
    except Exception as problem:
        raise UserError(
            f"{path}: expected a model that a run has saved ({one_line(problem)})"
        ) from problem
    return SavedModel(dict(weights), int(steps), statistics)


def read_tensors(path: Path) -> dict[str, Any]:
    """Return everything that torch saved: networks, statistics, optimisers.

    :return: entry without its ending -> what it holds, on the CPU
    :raises UserError: the file is not one that a run has saved
    """
    if not is_whole_model(path):
        raise UserError(f"{path}: damaged; expected a model that a run has saved")
    try:
        with ZipFile(path) as zipped:
            names = [name for name in sorted(zipped.namelist()) if name.endswith(".pth")]
            return {name.removesuffix(".pth"): _load(zipped, name) for name in names}
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, UnpicklingError) as problem:
        raise UserError(f"{path}: expected a model that a run has saved") from problem


def _load(zipped: ZipFile, name: str) -> Any:
    # Takes seconds, which checks of a file need not wait for.
    import torch

    return torch.load(io.BytesIO(zipped.read(name)), map_location="cpu", weights_only=True)
