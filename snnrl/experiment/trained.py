"""Trained agents for acting, built from the configuration; no code in ``model.zip`` runs.

The configuration defines the agent. Its weights are read as tensors only. The statistics with which
``VecNormalize`` normalises observations are read as the numbers that :func:`with_statistics` stored
beside them (:mod:`snnrl.run_format.model`).
"""

from __future__ import annotations

from contextlib import closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from snnrl.agents.base import SpikingAgent
from snnrl.errors import UserError
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.config.choices import classifies, on_policy
from snnrl.memory import is_memory_error
from snnrl.run_format.model import STATISTICS, add_statistics, read_model
from snnrl.run_format.names import CONFIG
from snnrl.text import one_line

MOMENTS = ("mean", "var", "count")


def with_statistics(model: bytes, agent: SpikingAgent) -> bytes:
    """Return a saved agent with the statistics of its observations as numbers.

    :param model: output of ``agent.save``, which holds them as a pickle
    """
    normalization = agent.get_vec_normalize_env() or agent.normalization
    if normalization is None or not normalization.norm_obs:
        return model
    moments: Any = normalization.obs_rms
    values = {name: np.asarray(getattr(moments, name)).tolist() for name in MOMENTS}
    return add_statistics(model, values)


def load_trained(cfg: DictConfig, path: Path, *, unpickle: bool = False) -> SpikingAgent:
    """Return the agent of ``model.zip`` on the CPU, for acting on any machine.

    :param cfg: a configuration of this version, checked
    :param unpickle: whether statistics of observations may be read from a pickle, as earlier
        versions wrote them; that runs code of the file
    :raises UserError: no run of this configuration wrote the file
    """
    weights, steps, statistics = read_model(path)
    _check_sizes(cfg, weights, path)
    try:
        agent = initial_agent(cfg)
    except (MemoryError, RuntimeError) as problem:
        if not is_memory_error(problem):
            raise
        raise _mismatch_error(path, f"too large for this machine: {one_line(problem)}") from problem
    _load_weights(agent, weights, path)
    agent.num_timesteps = steps
    normalization = agent.get_vec_normalize_env()
    if normalization is not None and normalization.norm_obs:
        normalization.training = False
        if statistics is not None:
            _set_moments(normalization, statistics, path)
        elif unpickle:
            _unpickle_moments(normalization, path)
        else:
            raise UserError(
                f"{path}: holds the statistics of its observations as a pickle, as earlier "
                "versions wrote them; if you trust the file, --unpickle reads it"
            )
    return agent


def initial_agent(cfg: DictConfig) -> SpikingAgent:
    """Return the agent with which a run of this configuration begins: its seed draws the weights.

    It is on the CPU, for acting on any machine.

    :param cfg: a configuration of this version, checked
    """
    cfg = deepcopy(cfg)
    cfg.device, cfg.env.n_envs = "cpu", 1
    if cfg.kernel.name == "triton":
        cfg.kernel.name = "auto"
    # An agent that only acts needs no replay memory.
    small = {"n_steps": 2, "batch_size": 2} if on_policy(cfg) else {"buffer_size": 1}
    if classifies(cfg):
        small = {}
    with closing(build_training_env(cfg)) as env:
        return build_agent(cfg, env, **small)


def _check_sizes(cfg: DictConfig, weights: dict[str, Tensor], path: Path) -> None:
    """Refuse layer sizes that the model does not have, before memory is allocated for them.

    :raises UserError: naming the setting
    """
    sizes = {size for tensor in weights.values() for size in getattr(tensor, "shape", ())}
    for key in ("actor.hidden", "critic.hidden", "target.hidden", "conv.channels"):
        for size in OmegaConf.select(cfg, key) or ():
            if size not in sizes:
                raise _mismatch_error(path, f"{key}: it has no layer of {size:,}")


def _load_weights(agent: SpikingAgent, weights: dict[str, Tensor], path: Path) -> None:
    own = agent.policy.state_dict()
    if alone := sorted(map(str, own.keys() ^ weights.keys())):
        where = "configuration" if alone[0] in own else "model"
        raise _mismatch_error(path, f"{alone[0]} is only in the {where}")
    for name, tensor in own.items():
        given = weights[name]
        if not isinstance(given, Tensor) or given.layout != tensor.layout:
            raise _mismatch_error(path, f"{name} is not a tensor")
        if (given.shape, given.dtype) != (tensor.shape, tensor.dtype):
            raise _mismatch_error(
                path,
                f"{name} is {tuple(given.shape)} of {given.dtype}; expected "
                f"{tuple(tensor.shape)} of {tensor.dtype}",
            )
        if given.is_floating_point() and not given.isfinite().all():
            raise UserError(f"{path}: {name} is not finite; expected a model that a run has saved")
    agent.policy.load_state_dict(weights)


def _mismatch_error(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: does not fit {CONFIG} ({reason}); expected the model of that run")


def _set_moments(normalization: VecNormalize, statistics: Any, path: Path) -> None:
    moments: Any = normalization.obs_rms
    try:
        mean, var = (np.asarray(statistics[name], dtype=float) for name in ("mean", "var"))
        count = float(statistics["count"])
        whole = mean.shape == var.shape == moments.mean.shape
        if not (whole and np.isfinite([*mean, *var, count]).all() and (var >= 0).all()):
            raise ValueError("wrong shapes, or values that are not numbers")
    except (ValueError, TypeError, KeyError, OverflowError) as problem:
        raise UserError(
            f"{path}: {STATISTICS}: expected mean, variance and count of observations of "
            f"{moments.mean.shape} ({one_line(problem)})"
        ) from problem
    moments.mean, moments.var, moments.count = mean, var, count


def _unpickle_moments(normalization: VecNormalize, path: Path) -> None:
    try:
        saved, *_ = load_from_zip_file(path, device="cpu")
        assert saved is not None
        kept = saved["normalization"].obs_rms
        values = {name: getattr(kept, name) for name in MOMENTS}
    except Exception as problem:  # Unpickling may raise anything.
        raise UserError(
            f"{path}: expected a model that a run has saved ({one_line(problem)})"
        ) from problem
    _set_moments(normalization, values, path)
