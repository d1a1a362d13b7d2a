"""Weights & Biases: a view of the csv files of the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from typing import Any
from urllib.parse import urlparse

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.folder import RunFolder

INIT_TIMEOUT_S = 60


class Tracker:
    """One W&B run, or nothing where tracking is disabled.

    Runs that differ in their seed alone form a group; the id is the same whenever the same run is
    made again.

    :param cfg: the run's configuration
    :param folder: its folder, under which W&B keeps its files
    :raises UserError: ``tracking.mode=online`` and W&B cannot be reached
    """

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        self.mode = resolve_mode(cfg.tracking.mode)
        self.asked = cfg.tracking.mode
        self.folder = folder
        self.run: Any = None
        if self.mode == "disabled":
            return
        if self.mode == "online" and not _logged_in():
            # W&B would ask for a key, and wait.
            raise UserError(
                "tracking.mode=online (or WANDB_MODE): not logged in to W&B; expected "
                "`wandb login` first, or tracking.mode=offline"
            )
        import wandb

        env = cfg.env.id.replace("/", "-")
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT_S, silent=True, console="off", x_disable_stats=True
        )
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        try:
            self.run = wandb.init(
                project=cfg.tracking.project,
                entity=cfg.tracking.entity,
                id=f"{env}-{folder.id}"[-128:],
                name=f"{folder.label}-s{cfg.seed}",
                group=f"{env}/{folder.setting}"[-128:],
                tags=_tags(cfg),
                config=config,
                dir=str(folder.path),
                mode=self.mode,  # type: ignore[arg-type]
                resume="allow" if self.mode == "online" else None,
                settings=settings,
            )
        except wandb.errors.Error as problem:
            reason = str(problem).split("\n")[0]
            raise UserError(
                f"tracking.mode={self.mode}: W&B answered '{reason}'; "
                "use tracking.mode=offline to sync later"
            ) from problem
        self.run.define_metric("timesteps")
        self.run.define_metric("*", step_metric="timesteps")

    @property
    def message(self) -> str | None:
        """What to tell the user, once."""
        if self.mode == "online":
            return f"W&B: {self.run.url}"
        if self.mode == "offline":
            why = " (not logged in)" if self.asked == "auto" else ""
            pieces = f"{self.folder.path}/wandb/offline-run-*"
            return f"W&B offline{why}; sync later with: wandb sync {pieces}"
        return None

    def log(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Hand values over; the x-axis is ``timesteps``."""
        if self.run is not None:
            self.run.log({"timesteps": timesteps, **values})

    def finish(self, exit_code: int = 0) -> None:
        """End the W&B run."""
        if self.run is not None:
            self.run.finish(exit_code=exit_code)


def _tags(cfg: DictConfig) -> list[str]:
    neuron = [cfg.neuron.name] if cfg.actor.name == "spiking" else []
    return [cfg.env.id, cfg.algo.name, cfg.actor.name, *neuron, f"bn-{cfg.bn.name}"]


def resolve_mode(mode: str) -> str:
    """``auto`` is online when logged in, offline otherwise; ``WANDB_MODE`` decides before it."""
    if mode != "auto":
        return mode
    chosen = os.environ.get("WANDB_MODE")
    if chosen in ("online", "offline", "disabled"):
        return chosen
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return host is not None and netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
