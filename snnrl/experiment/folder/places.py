"""Folders of the runs of a setting."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config.label import HASH_DIGITS, folder_name
from snnrl.run_format.names import OWN_RUNS, seed_folder


def find_run(cfg: DictConfig) -> Path:
    """Return the run folder: the one that holds the run, else the one of its setting, else a new
    one.

    :raises UserError: two folders hold this run
    """
    new, seed = new_folder(cfg), seed_folder(cfg.seed)
    settings = _of_the_setting(new.parent, new.name)
    earlier = []
    if Path(cfg.results_dir) == Path(OWN_RUNS):
        # Default folder before the user's runs and recorded ones were separated.
        earlier = _of_the_setting(new.parents[2] / new.parent.name, new.name)
    holding = [found / seed for found in (*settings, *earlier) if (found / seed).is_dir()]
    if len(holding) > 1:
        raise UserError(
            f"{holding[0]} and {holding[1]}: two folders of one run; expected one of them moved "
            "away"
        )
    return holding[0] if holding else (settings or [new])[0] / seed


def new_folder(cfg: DictConfig) -> Path:
    """Return the name of a new folder for a setting."""
    env = re.sub(r"[^\w.-]+", "-", cfg.env.id)
    return Path(cfg.results_dir) / env / folder_name(cfg)


def _of_the_setting(environment: Path, name: str) -> list[Path]:
    """Return the folders that end with the hash of this name, first the one with exactly this
    name."""
    ending = name[-HASH_DIGITS - 1 :]
    try:
        found = [f for f in environment.iterdir() if f.name.endswith(ending) and f.is_dir()]
    except OSError:
        return []  # The error is raised when something is written there.
    return sorted(found, key=lambda folder: (folder.name != name, folder.name))
