"""Disk space of a run's checkpoints."""

from __future__ import annotations

import io
import math
import pickle
import shutil
from pathlib import Path

from omegaconf import DictConfig

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.checkpoint.replay_segments import replay_of, row_bytes
from snnrl.experiment.config.choices import rollout_size

AT_ONCE = 3
"""Most checkpoints on disk at once: two are kept while a third is written."""

SMALL_FILES = 200_000
"""Bytes of a checkpoint besides agent, environments and replay: generators, manifest."""


def checkpoint_bytes(cfg: DictConfig, agent: SpikingAgent) -> int:
    """Return an upper estimate of the disk space of a run's checkpoints.

    It counts the agent three times, the best agent so far, and the environments; at the end of a
    run the previous best agent too. It adds the rows of three checkpoints' replay buffers: as many
    as a buffer holds, and those added in between. A segment is removed when none of its rows is
    needed, up to one interval later.

    :param agent: agent of this configuration; it may be new
    """
    agent_bytes = _agent_bytes(agent)
    total = AT_ONCE * (2 * agent_bytes + _environment_bytes(agent) + SMALL_FILES) + agent_bytes
    rollout = getattr(agent, "rollout_buffer", None)
    if rollout is not None:
        total += AT_ONCE * rollout.observations.nbytes
    if agent.experience == "replay":
        buffer = replay_of(agent)
        # Checkpoints wait for the end of a rollout.
        interval = math.ceil((cfg.checkpoint.every + rollout_size(cfg)) / agent.n_envs)
        all_rows = math.ceil((cfg.total_steps + rollout_size(cfg)) / agent.n_envs)
        rows = min(buffer.buffer_size + AT_ONCE * interval, all_rows)
        total += rows * row_bytes(buffer)
    return total


def disk_space(cfg: DictConfig, agent: SpikingAgent) -> str:
    """Return a line such as ``checkpoints will take up to 0.2 GB on disk, 66 GB free``."""
    needed, free = checkpoint_bytes(cfg, agent), shutil.disk_usage(_existing(cfg.results_dir)).free
    enough = "" if needed < free else ": expected more, or the run will stop when the disk is full"
    return f"checkpoints will take up to {in_bytes(needed)} on disk, {in_bytes(free)} free{enough}"


def in_bytes(count: int) -> str:
    """Return a size as ``12 MB``, ``0.2 GB``, ``66 GB``."""
    if count < 0.1e9:
        return f"{math.ceil(count / 1e6)} MB"
    return f"{count / 1e9:.1f} GB" if count < 9.95e9 else f"{count / 1e9:.0f} GB"


def _agent_bytes(agent: SpikingAgent) -> int:
    file = io.BytesIO()
    agent.save(file)
    # An optimiser has no moments before its first step.
    missing: int = sum(
        2 * parameter.nbytes
        for optimizer in agent._optimizers()
        if not optimizer.state
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    return len(file.getvalue()) + missing


def _environment_bytes(agent: SpikingAgent) -> int:
    assert agent.env is not None
    return sum(len(pickle.dumps(state)) for state in agent.env.env_method("get_state"))


def _existing(path: str) -> Path:
    absolute = Path(path).absolute()
    return next(part for part in [absolute, *absolute.parents] if part.exists())
