"""Construction of the tracker selected by ``tracking=``."""

from __future__ import annotations

from omegaconf import DictConfig

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.tracking.tensorboard import TensorBoard
from snnrl.experiment.tracking.tracker import Tracker
from snnrl.experiment.tracking.wandb import make_wandb_tracker


def make_tracker(cfg: DictConfig, folder: RunFolder) -> Tracker:
    """Return the tracker of ``tracking=``. It writes to the run folder only once it begins.

    :raises UserError: W&B or TensorBoard is not available as requested
    """
    if cfg.tracking.name == "wandb":
        return make_wandb_tracker(cfg, folder)
    if cfg.tracking.name == "tensorboard":
        return TensorBoard(folder)
    return Tracker(folder)
