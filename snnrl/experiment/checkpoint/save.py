"""Checkpoints of a run, from which it resumes bit for bit on a CPU.

``checkpoint/`` holds the last two checkpoints, each as ``save-<number>/``, and the segments of the
replay buffer that they share, ``replay/``. A checkpoint gets its name once all of it is on disk;
files that only an older one needs are removed after that.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from pickle import HIGHEST_PROTOCOL, UnpicklingError
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from omegaconf import DictConfig
from stable_baselines3.common.vec_env import VecEnv

from snnrl.agents.base import SpikingAgent
from snnrl.agents.updates.loss_log import LossLog
from snnrl.errors import NonFiniteError, RunFailed, UserError
from snnrl.experiment.builder import load_agent
from snnrl.experiment.checkpoint.checksums import Damaged, checksum
from snnrl.experiment.checkpoint.manifest import (
    NAME,
    REPLAY,
    Manifest,
    newest_intact,
    numbered,
    read_manifest,
    version_error,
    write_manifest,
)
from snnrl.experiment.checkpoint.random_state import generator_states, restore_generators
from snnrl.experiment.checkpoint.replay_segments import (
    Segment,
    load_rows,
    lost_segments,
    replay_of,
    rows_of,
    save_rows,
)
from snnrl.experiment.config.label import settings_hash
from snnrl.experiment.trained import with_statistics
from snnrl.run_format.durable import replace_file, sync_folder
from snnrl.run_format.table import Fingerprint
from snnrl.seeds import child_seed

AGENT, STATE = "agent.zip", "state.pt"


class Position(NamedTuple):
    """Position of a run at a step, besides its agent.

    :param clocks: steps of the last evaluation, logging and checkpoint
    :param tables: fingerprints of all rows of the run's tables, which are already on disk
    :param best: contents of ``best_model.zip``; ``None`` if there is none
    :param losses: losses not yet logged; ``None`` takes the agent's
    """

    clocks: dict[str, int]
    tables: dict[str, Fingerprint] = {}  # noqa: RUF012
    best: bytes | None = None
    losses: LossLog | None = None


class Checkpoints:
    """Write the checkpoints of one run.

    :param folder: folder of the checkpoints
    :param run: id of the run: :func:`run_id`
    :raises Damaged: there are checkpoints, and none is whole
    """

    def __init__(self, folder: Path, run: str):
        self.folder = folder
        self.run = run
        newest = newest_intact(folder)
        self._last = None if newest is None else newest[:2]

    def save(
        self, agent: SpikingAgent, position: Position, longer: Position | None = None
    ) -> list[str]:
        """Write a checkpoint; the last one stays in place until it is complete.

        :param agent: agent between two updates; one that learns from rollouts has used up its last
            rollout
        :param position: position of the run
        :param longer: its position if this step were not its end
        :raises NonFiniteError: the agent holds a NaN or an infinity; nothing is written
        :raises RunFailed: it cannot be written; the last one is kept
        :return: lost segments of the replay buffer, which are written again
        """
        check_finite(agent)
        contents = {AGENT: _agent(agent), STATE: _state(agent, position, longer)}
        step = agent.num_timesteps
        try:
            lost = self._lost_segments()
            saved = self._write(contents, agent, lost)
        except OSError as problem:
            self._remove_all_but(numbered(self.folder).values())
            raise RunFailed(
                f"{self.folder}: the checkpoint of step {step:,} cannot be written "
                f"({problem.strerror}); {self._fallback_message()}"
            ) from problem
        self._remove_all_but([saved[0], *([self._last[0]] if self._last else [])])
        self._last = saved
        return [segment.name for segment in lost]

    def _lost_segments(self) -> list[Segment]:
        if self._last is None:
            return []
        save, manifest = self._last
        with suppress(FileNotFoundError):
            written = (save / NAME).stat().st_mtime_ns
            return lost_segments(self.folder / REPLAY, manifest.segments, written)
        return lost_segments(self.folder / REPLAY, manifest.segments, written=0)

    def _write(
        self, contents: dict[str, bytes], agent: SpikingAgent, lost: Collection[Segment]
    ) -> tuple[Path, Manifest]:
        save = self.folder / f"save-{max(numbered(self.folder), default=0) + 1}"
        new = save.with_name(f"{save.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        # Not the run folder: a removed one must not reappear with only a checkpoint.
        self.folder.mkdir(exist_ok=True)
        new.mkdir()
        (self.folder / REPLAY).mkdir(exist_ok=True)
        segments = []
        if agent.experience == "replay":
            earlier = [] if self._last is None else self._last[1].segments
            replay, rows = replay_of(agent), rows_of(agent)
            segments = save_rows(self.folder / REPLAY, replay, rows, earlier, lost)
        for name, content in contents.items():
            replace_file(new / name, content)
        files = {name: checksum(new / name) for name in contents}
        manifest = Manifest(self.run, agent.num_timesteps, files, segments)
        write_manifest(new, manifest)
        # The folders are new entries of their parents; files that refer to segments come last.
        sync_folder(self.folder)
        sync_folder(self.folder.parent)
        new.rename(save)
        sync_folder(self.folder)
        return save, manifest

    def _remove_all_but(self, kept: Collection[Path]) -> None:
        """Remove files that none of these checkpoints needs; failures are retried next time."""
        for path in self.folder.glob("save-*"):
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)
        try:
            needed = {segment.name for save in kept for segment in read_manifest(save).segments}
        except Damaged:
            return  # Its needs are unknown: the disk may be unreadable only for the moment.
        for path in (self.folder / REPLAY).glob("*segment-*"):
            if path.name not in needed:
                with suppress(OSError):
                    path.unlink()

    def _fallback_message(self) -> str:
        if self._last is None:
            return "there is no earlier one"
        step = self._last[1].step
        return f"that of step {step:,} is intact, and the same command resumes from it"


class Loaded(NamedTuple):
    """A loaded checkpoint.

    :param agent: agent as saved
    :param position: position as saved
    :param longer: position if the checkpoint's step, an end, is not the run's end; otherwise
        ``None``
    :param knows_its_step: whether the fingerprints are also of the rows of the checkpoint's own
        step; earlier versions' are of those before it
    :param restored: whether the environment's state was restored; if not, a new episode starts
    :param damaged: fault of each newer checkpoint
    """

    agent: SpikingAgent
    position: Position
    longer: Position | None
    knows_its_step: bool
    restored: bool
    damaged: list[str]


def find_checkpoint(folder: Path) -> Path | None:
    """Return ``folder`` if it holds a checkpoint, complete or not, of any version."""
    earlier_version = (folder, folder.with_name("checkpoint.old"))
    if numbered(folder) or any((path / STATE).exists() for path in earlier_version):
        return folder
    return None


def load_checkpoint(folder: Path, cfg: DictConfig, env: VecEnv) -> Loaded:
    """Restore an agent and its environment to the state that :meth:`Checkpoints.save` wrote.

    Damaged files are detected by their checksums; the previous checkpoint is then used.

    :param env: environment made like the saved one
    :raises UserError: no checkpoint is whole, or another run or version wrote it
    """
    afresh = "remove the run folder to start over"
    try:
        newest = newest_intact(folder)
    except Damaged as problem:
        raise UserError(f"{folder}: damaged ({problem}); {afresh}") from None
    if newest is None:
        raise version_error(folder)
    save, manifest, damaged = newest
    if manifest.run != run_id(cfg):
        raise UserError(
            f"{folder}: belongs to the run {manifest.run}; expected {run_id(cfg)}; {afresh}"
        )
    env.reset()
    try:
        agent = load_agent(cfg, str(save / AGENT), env)
        if agent.experience == "replay":
            load_rows(folder / REPLAY, replay_of(agent), rows_of(agent), manifest.segments)
        state: dict[str, Any] = torch.load(
            save / STATE, map_location=agent.device, weights_only=False
        )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, UnpicklingError) as problem:
        raise UserError(f"{save}: cannot be read ({type(problem).__name__}); {afresh}") from problem
    restored = all(saved is not None for saved in state["environments"])
    if restored:
        for index, saved in enumerate(state["environments"]):
            (reason,) = env.env_method("set_state", saved, indices=index)
            if reason is not None:
                raise UserError(f"{save}: {reason}; {afresh}")
        if (normalised := agent.get_vec_normalize_env()) is not None:
            normalised.returns = state["returns"]
    else:
        _start_episodes(agent)
    # One object, as in a new run: an environment may draw from it too.
    agent.action_space = env.action_space
    restore_generators(agent, state["generators"])
    _restore_measured(agent, state)
    knows_its_step = "position" in state
    position = (
        Position(**state["position"]) if knows_its_step else _position_of_earlier_version(state)
    )
    longer = Position(**state["longer"]) if state.get("longer") else None
    return Loaded(agent, position, longer, knows_its_step, restored, damaged)


def run_id(cfg: DictConfig) -> str:
    """Return an id shared by all checkpoints from which a run can resume."""
    return f"{settings_hash(cfg)}-seed-{cfg.seed}"


def save_model(path: Path, agent: SpikingAgent, kernel: str = "auto") -> bytes:
    """Write ``model.zip``; at any moment the file is the old or the new one, complete.

    :param kernel: the requested kernel, resolved again when the file is loaded
    :raises NonFiniteError: the agent holds a NaN or an infinity; nothing is written
    :return: the written file's contents
    """
    check_finite(agent)
    arguments = agent.policy_kwargs
    if "kernel" in arguments:
        agent.policy_kwargs = {**arguments, "kernel": kernel}
    try:
        content = with_statistics(_agent(agent), agent)
    finally:
        agent.policy_kwargs = arguments
    replace_file(path, content)
    return content


def check_finite(agent: SpikingAgent) -> None:
    """Check all state that learning changes: networks, statistics, optimisers.

    :raises NonFiniteError: a tensor, named in the error, holds a NaN or an infinity
    """
    for part, state in agent.get_parameters().items():
        for name, tensor in _tensors(state, part):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise NonFiniteError(name, agent.num_timesteps)


def _tensors(state: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}")


def _agent(agent: SpikingAgent) -> bytes:
    # In memory: torch's writer would turn a full disk into an error without an errno.
    file = io.BytesIO()
    agent.save(file)
    return file.getvalue()


def _state(agent: SpikingAgent, position: Position, longer: Position | None) -> bytes:
    assert agent.env is not None
    normalised = agent.get_vec_normalize_env()
    if position.losses is None:
        position = position._replace(losses=agent.loss_log)
    state = {
        "position": position._asdict(),
        "longer": None if longer is None else longer._asdict(),
        "generators": generator_states(agent),
        "environments": agent.env.env_method("get_state"),
        # Reward scaling of VecNormalize, which its own state omits.
        "returns": None if normalised is None else normalised.returns,
        **_measured(agent),
    }
    file = io.BytesIO()
    # Torch's default writes bytes, such as an environment's state, as text.
    torch.save(state, file, pickle_protocol=HIGHEST_PROTOCOL)
    return file.getvalue()


def _position_of_earlier_version(state: Mapping[str, Any]) -> Position:
    return Position(state["clocks"], state.get("tables", {}), losses=state["losses"])


def _measured(agent: SpikingAgent) -> dict[str, Any]:
    """Return the state that an evaluation at this step needs: a run may be shortened."""
    return {
        "statistics_before": agent.statistics_before,
        "last_rollout": getattr(agent, "last_rollout", None),
    }


def _restore_measured(agent: SpikingAgent, state: Mapping[str, Any]) -> None:
    for name, value in state.items():
        if name in ("statistics_before", "last_rollout") and value is not None:
            setattr(agent, name, value)


def _start_episodes(agent: SpikingAgent) -> None:
    assert agent.env is not None
    assert agent.seed is not None
    # Loading seeded them as at the start of training: the same episodes would be repeated.
    agent.env.seed(child_seed(agent.seed, "resumed", agent.num_timesteps))
    agent._last_obs = agent.env.reset()  # type: ignore[assignment]
    if (normalised := agent.get_vec_normalize_env()) is not None:
        agent._last_original_obs = normalised.get_original_obs()
    agent._last_episode_starts = np.ones(agent.n_envs, dtype=bool)
