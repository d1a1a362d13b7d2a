"""Weights & Biases: a view of the csv files of the run folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config.label import label
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.tracking.history import history
from snnrl.experiment.tracking.tracker import Tracker, tell
from snnrl.run_format.documents import read_text
from snnrl.run_format.names import WANDB

INIT_TIMEOUT_S = 60

LONGEST_NAME = 128
"""Characters that W&B allows in the name of a run or of a group."""

CLOUD = ("api.forge.coreweave.com", "api.wandb.ai")
"""Current and earlier name of W&B's own server: a login may be for either."""

FINISH_TIMEOUT_S = 60
"""Longest wait for W&B at the end of a run; data not uploaded by then stays on disk."""


def make_wandb_tracker(cfg: DictConfig, folder: RunFolder) -> Tracker:
    """Return the tracker of ``tracking.mode``.

    :raises UserError: ``tracking.mode=online`` (or ``WANDB_MODE=online``) and W&B cannot be reached
    """
    asked = cfg.tracking.mode
    mode = resolve_mode(asked)
    if mode == "disabled":
        return Tracker(folder)
    if mode == "offline":
        why = "not logged in" if asked == "auto" and not _logged_in() else None
        return OfflineWandb(cfg, folder, why)
    if not _logged_in():
        # W&B would prompt for a key and wait.
        raise UserError(
            "tracking.mode=online (or WANDB_MODE): not logged in to W&B; expected "
            "`wandb login` first, or tracking.mode=offline"
        )
    import wandb

    try:
        return OnlineWandb(cfg, folder)
    except wandb.errors.Error as problem:
        reason = str(problem).split("\n")[0]
        if asked == "auto":
            return OfflineWandb(cfg, folder, f"W&B answered '{reason}'")
        raise UserError(
            f"tracking.mode={mode}: W&B answered '{reason}'; "
            "use tracking.mode=offline to sync later"
        ) from problem


class WandbTracker(Tracker):
    """Base class of both modes: name, group and layout of a run in W&B.

    Runs that differ only in their seed form a group. W&B's own step is the environment step, so
    curves of different runs align on any x-axis but time.
    """

    name = "W&B"

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        super().__init__(folder)
        self.cfg = cfg
        self.pieces = folder.path / WANDB
        self.id_file = self.pieces / "run-id"
        self.id = _read_id(self.id_file) if self.id_file.exists() else _new_id()

    def _open(self, **arguments: Any) -> Any:
        import wandb

        cfg, folder = self.cfg, self.folder
        settings = wandb.Settings(
            init_timeout=INIT_TIMEOUT_S,
            finish_timeout=FINISH_TIMEOUT_S,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            x_disable_stats=True,
        )
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        run = wandb.init(
            project=cfg.tracking.project,
            entity=cfg.tracking.entity,
            id=self.id,
            name=f"{folder.setting}-s{cfg.seed}"[-LONGEST_NAME:],
            # A long id, or an earlier version's long folder name, is cut in front: the hash stays.
            group=f"{cfg.env.id.replace('/', '-')}/{folder.setting}"[-LONGEST_NAME:],
            notes=label(cfg),
            tags=_tags(cfg),
            config=config,
            allow_val_change=True,
            dir=str(folder.path),
            settings=settings,
            # In a sweep the previous run may have been abandoned and be open still.
            reinit="create_new",
            **arguments,
        )
        run.define_metric("timesteps")
        run.define_metric("*", step_metric="timesteps")
        return run

    def _keep_id(self) -> None:
        self.pieces.mkdir(exist_ok=True)
        self.id_file.write_text(f"{self.id}\n")

    def _remove_offline_pieces(self) -> None:
        for piece in self.pieces.glob("offline-run-*"):
            shutil.rmtree(piece)


class OnlineWandb(WandbTracker):
    """Log while the run trains.

    A resumed run adds only the steps that the server lacks. It had logged steps between the last
    checkpoint and its interruption, and they are made again.

    :raises wandb.errors.Error: W&B cannot be reached
    """

    def __init__(self, cfg: DictConfig, folder: RunFolder):
        super().__init__(cfg, folder)
        self.run = self._open(mode="online", resume="allow")
        self.first_new_step: int = self.run.starting_step
        self.waiting: tuple[int, dict[str, float]] | None = None

    @property
    def message(self) -> str:
        return f"W&B: {self.run.url}"

    def _begin(self) -> None:
        self._keep_id()
        for step, values in history(self.folder):
            self._log(step, values)
        # A run from a time without network, synced later, would overwrite this run.
        self._remove_offline_pieces()

    def _log(self, timesteps: int, values: Mapping[str, float]) -> None:
        if timesteps < self.first_new_step:
            return
        # A step is sent whole, or a killed run would leave half of one on the server.
        if self.waiting is not None and self.waiting[0] != timesteps:
            self._send()
        if self.waiting is None:
            self.waiting = (timesteps, {"timesteps": timesteps})
        self.waiting[1].update(values)

    def _finish(self, exit_code: int) -> None:
        self._send()
        try:
            self.run.finish(exit_code=exit_code)
        except TimeoutError:
            piece = os.path.dirname(self.run.dir)
            tell(
                f"W&B did not receive everything within {FINISH_TIMEOUT_S} s; sync the rest with: "
                f"wandb sync --include-online {piece}"
            )

    def _send(self) -> None:
        if self.waiting is not None:
            step, values = self.waiting
            self.run.log(values, step=step)
            self.waiting = None


class OfflineWandb(WandbTracker):
    """Write the whole W&B run from the csv files, when the run resumes and when it ends.

    W&B cannot resume an offline run: each start makes a new file, and of two files with one id the
    one synced last overwrites the other. So there is one file at a time, with the complete history;
    synced again after the run was resumed, it replaces itself.

    :param why: why it is offline, if that was not requested
    """

    def __init__(self, cfg: DictConfig, folder: RunFolder, why: str | None):
        super().__init__(cfg, folder)
        self.why = f" ({why})" if why else ""

    @property
    def message(self) -> str:
        pieces = f"{self.pieces}/offline-run-*"
        return f"W&B offline{self.why}; sync when the run has ended with: wandb sync {pieces}"

    def _begin(self) -> None:
        if any(history(self.folder)):
            # In case the run is killed and nobody resumes it.
            self._write(exit_code=1)

    def _finish(self, exit_code: int) -> None:
        self._write(exit_code)

    def _write(self, exit_code: int) -> None:
        self._keep_id()
        self._remove_offline_pieces()
        run = self._open(mode="offline")
        for step, values in history(self.folder):
            run.log({"timesteps": step, **values}, step=step)
        run.finish(exit_code=exit_code)


def _read_id(file: Path) -> str:
    """Return the run's id, which W&B uses as the name of a folder.

    :raises UserError: it is not an id
    """
    text = read_text(file, largest=1000).strip()
    if not re.fullmatch(r"[\w-]+", text):
        raise UserError(f"{file}: expected letters and digits; remove it to log to another W&B run")
    return text


def _new_id() -> str:
    """Return a new id for a run folder.

    If it were derived from the settings, two users' runs, or one made again after its folder was
    removed, would overwrite each other. W&B also never accepts the id of a run that was deleted
    there.
    """
    return secrets.token_hex(8)


def _tags(cfg: DictConfig) -> list[str]:
    neuron = [cfg.neuron.name] if cfg.actor.name == "spiking" else []
    return [cfg.env.id, cfg.algo.name, cfg.actor.name, *neuron, f"bn-{cfg.bn.name}"]


def resolve_mode(mode: str) -> str:
    """Resolve ``auto`` to online when logged in, else offline; ``WANDB_MODE`` takes precedence."""
    if mode != "auto":
        return mode
    chosen = os.environ.get("WANDB_MODE")
    if chosen in ("online", "offline", "disabled"):
        return chosen
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    address = urlparse(os.environ.get("WANDB_BASE_URL") or f"https://{CLOUD[0]}")
    hosts = CLOUD if address.hostname in CLOUD else (address.netloc,)
    try:
        logins = netrc(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):
        return False
    return any(logins.authenticators(host) is not None for host in hosts)
