"""Everything a run needs to go on, bit for bit on a CPU."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from omegaconf import DictConfig
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv

from snnrl.agents.base import SpikingAgent
from snnrl.errors import NonFiniteError, UserError
from snnrl.experiment.builder import load_agent

REPLAY_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def save_checkpoint(folder: Path, agent: SpikingAgent, clocks: dict[str, int]) -> None:
    """Write a checkpoint beside the old one, then put it in its place.

    :param folder: the checkpoint's folder
    :param agent: stands between two updates; one that learns from rollouts has used up its last
    :param clocks: when evaluation and logging last happened
    :raises NonFiniteError: the agent holds a NaN or an infinity; nothing is written
    """
    check_finite(agent)
    new, old = folder.with_name("checkpoint.new"), folder.with_name("checkpoint.old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    agent.save(new / "agent.zip")
    if agent.experience == "replay":
        _save_replay(new / "replay.npz", _replay_of(agent))
    state = {
        "clocks": clocks,
        "generators": _generators(agent),
        "environments": _environments(agent),
        "returns": _discounted_returns(agent),
        "losses": agent.losses,
    }
    torch.save(state, new / "state.pt")
    for file in new.iterdir():
        _flush(file)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def save_model(path: Path, agent: SpikingAgent) -> None:
    """Write ``model.zip``; at every moment the file is the old one or the new one, whole.

    It names the naive kernel, so that it loads on a machine without a compiler.

    :raises NonFiniteError: the agent holds a NaN or an infinity; nothing is written
    """
    check_finite(agent)
    unfinished = path.with_name(f".{path.name}.tmp.zip")
    arguments = agent.policy_kwargs
    if "kernel" in arguments:
        agent.policy_kwargs = {**arguments, "kernel": "naive"}
    try:
        agent.save(unfinished)
    finally:
        agent.policy_kwargs = arguments
    _flush(unfinished)
    unfinished.replace(path)


def check_finite(agent: SpikingAgent) -> None:
    """Look at everything that learning changes: networks, statistics, optimisers.

    :raises NonFiniteError: a tensor holds a NaN or an infinity; it names the tensor
    """
    for part, state in agent.get_parameters().items():
        for name, tensor in _tensors(state, part):
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise NonFiniteError(name, agent.num_timesteps)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _tensors(state: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}")


def find_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint: a crash between two renames leaves it under its old name."""
    old = folder.with_name("checkpoint.old")
    return next((f for f in (folder, old) if (f / "state.pt").exists()), None)


def load_checkpoint(
    folder: Path, cfg: DictConfig, env: VecEnv
) -> tuple[SpikingAgent, dict[str, int], bool]:
    """Bring an agent and its environment back to where :func:`save_checkpoint` found them.

    :param env: made like the one that was saved
    :raises UserError: a file of the checkpoint cannot be read, or an earlier version wrote it
    :return: the agent, the clocks, and whether the environment's state could be restored; where
        not, the environment starts a new episode
    """
    env.reset()
    try:
        _check_version(folder)
        agent = load_agent(cfg, str(folder / "agent.zip"), env)
        if agent.experience == "replay":
            _load_replay(folder / "replay.npz", _replay_of(agent))
        state: dict[str, Any] = torch.load(
            folder / "state.pt", map_location=agent.device, weights_only=False
        )
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, UnpicklingError) as problem:
        raise UserError(
            f"{folder}: cannot be read ({type(problem).__name__}); remove the run folder to start "
            "afresh"
        ) from problem
    restored = all(saved is not None for saved in state["environments"])
    if restored:
        for index, saved in enumerate(state["environments"]):
            env.env_method("set_state", saved, indices=index)
        if (normalised := agent.get_vec_normalize_env()) is not None:
            normalised.returns = state["returns"]
    else:
        _start_episodes(agent)
    agent.losses = state["losses"]
    _restore_generators(agent, state["generators"])
    return agent, state["clocks"], restored


def _check_version(folder: Path) -> None:
    # SB3 takes any attributes; learning would find the wrong ones when the folder has changed.
    with ZipFile(folder / "agent.zip") as file:
        attributes = json.loads(file.read("data"))
    if not isinstance(attributes.get("recalibrated_at"), dict):
        raise UserError(
            f"{folder}: was written by an earlier version; remove the run folder to start afresh"
        )


def _start_episodes(agent: SpikingAgent) -> None:
    assert agent.env is not None
    agent._last_obs = agent.env.reset()  # type: ignore[assignment]
    agent._last_episode_starts = np.ones(agent.n_envs, dtype=bool)


def _environments(agent: SpikingAgent) -> list[bytes | None]:
    assert agent.env is not None
    return agent.env.env_method("get_state")


def _discounted_returns(agent: SpikingAgent) -> np.ndarray | None:
    """What ``VecNormalize`` scales rewards by and leaves out of its own state."""
    env = agent.get_vec_normalize_env()
    return None if env is None else env.returns


def _replay_of(agent: SpikingAgent) -> ReplayBuffer:
    buffer: Any = getattr(agent, "replay_buffer", None)
    assert isinstance(buffer, ReplayBuffer)
    return buffer


def _generators(agent: SpikingAgent) -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "actions": agent.action_space.np_random.bit_generator.state,
    }


def _restore_generators(agent: SpikingAgent, saved: dict[str, Any]) -> None:
    random.setstate(saved["python"])
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(saved["torch"].cpu())
    if saved["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])
    agent.action_space.np_random.bit_generator.state = saved["actions"]


def _save_replay(path: Path, buffer: ReplayBuffer) -> None:
    filled = {name: getattr(buffer, name)[: buffer.size()] for name in REPLAY_ARRAYS}
    np.savez(path, pos=buffer.pos, full=buffer.full, **filled)


def _load_replay(path: Path, buffer: ReplayBuffer) -> None:
    with path.open("rb") as file, np.load(file) as saved:
        buffer.pos, buffer.full = int(saved["pos"]), bool(saved["full"])
        for name in REPLAY_ARRAYS:
            getattr(buffer, name)[: buffer.size()] = saved[name]
