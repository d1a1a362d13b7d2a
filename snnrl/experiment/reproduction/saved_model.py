"""Saved models of a run folder, before anything is imported that takes seconds."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config.check_settings import check_bounds
from snnrl.experiment.reproduction.remake import read_typed_config
from snnrl.run_format.done import check_sealed
from snnrl.run_format.last_step import last_logged_step
from snnrl.run_format.model import is_whole_model
from snnrl.run_format.names import BEST_MODEL, CONFIG, EVALUATIONS, FAILED, MODEL
from snnrl.run_format.status import has_failed, is_done

MODELS = {"last": MODEL, "best": BEST_MODEL}


def find_model(folder: Path, which: str, modules: Collection[str]) -> tuple[DictConfig, Path]:
    """Return the configuration of a run folder and the file of its model.

    :param which: ``last`` or ``best``
    :param modules: that the user has named
    :raises UserError: not a run folder, no such model, or a damaged one
    """
    cfg = read_typed_config(folder, modules)
    check_bounds(cfg)
    model = folder / MODELS[which]
    if not model.is_file():
        raise UserError(f"{model}: not there; {_why_no_model(folder, which, cfg)}")
    if is_done(folder):
        check_sealed(folder, [CONFIG, model.name])
    if not is_whole_model(model):
        raise UserError(f"{model}: damaged; expected a model that a run has saved")
    return cfg, model


def progress_of(folder: Path, cfg: DictConfig) -> str:
    """Return in parentheses how far a run is that is not done; empty if it is."""
    if is_done(folder):
        return ""
    state = "failed" if has_failed(folder) else "is unfinished"
    return f" (the run of {cfg.total_steps:,} steps {state})"


def _why_no_model(folder: Path, which: str, cfg: DictConfig) -> str:
    if is_done(folder):
        return (
            "the run is done and its models were not stored, as in recorded results; "
            f"python -m snnrl.reproduce {shlex.quote(str(folder))} makes it again"
        )
    if has_failed(folder):
        return f"the run failed before it saved one; {FAILED} says why"
    other = next((name for name in MODELS if (folder / MODELS[name]).is_file()), None)
    instead = f"; --model {other} is there" if other else ""
    unfinished = (
        f"the run is unfinished ({last_logged_step(folder):,} of {cfg.total_steps:,} steps)"
    )
    if which == "last":
        return f"{unfinished} and saves it at its end{instead}"
    if (folder / EVALUATIONS).exists():
        return f"{unfinished}, and this one was not stored with its tables{instead}"
    return f"{unfinished} and saves it at its first evaluation{instead}"
