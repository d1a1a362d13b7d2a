"""The tracker that ``tracking=`` asks for."""

from __future__ import annotations

from omegaconf import DictConfig

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.tracking.tensorboard import TensorBoard
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.experiment.tracking.wandb import make_wandb_tracker


def make_tracker(cfg: DictConfig, folder: RunFolder) -> Tracker:
    """Return what ``tracking=`` asks for. It writes into the run folder no sooner than it begins.

    :raises UserError: W&B or TensorBoard cannot be had as asked for
    """
    if cfg.tracking.name == "wandb":
        return make_wandb_tracker(cfg, folder)
    if cfg.tracking.name == "tensorboard":
        return TensorBoard(folder)
    return Tracker(folder)
