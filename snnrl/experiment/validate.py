"""What types cannot check: bounds, and whether the parts of a configuration fit together."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from omegaconf import DictConfig, ListConfig, OmegaConf

from snnrl.envs import make_env
from snnrl.errors import UserError, expect
from snnrl.nn.norm import STRATEGIES
from snnrl.ops.backend import resolve_kernel

CRITICS = {"td3": "ann", "ddpg": "ann_late"}

ONLY_WITH_RULE = {"momentum": "ema", "smoothing": "confidence", "effective_n": "confidence"}

LARGEST = 10**12
"""Sizes and counts beyond it overflow what counts them."""


def validate(cfg: DictConfig) -> None:
    """Check one composed configuration.

    :raises UserError: the first thing that does not fit, naming its key
    """
    _check_bounds(cfg, "")
    _check_normalisation(cfg)
    _check_algorithm(cfg)
    _check_results_dir(cfg.results_dir)
    resolve_device(cfg.device)
    resolve_kernel(cfg.kernel.name, cfg.total_steps)
    _check_environment(cfg)


def resolve_device(device: str) -> torch.device:
    """``auto`` is the GPU where there is one.

    :raises UserError: not a device, or one that this machine does not have
    """
    try:
        has_gpu = torch.cuda.is_available()
        found = torch.device(("cuda" if has_gpu else "cpu") if device == "auto" else device)
    except RuntimeError:
        raise UserError(f"device={device}: expected auto, cpu, cuda or cuda:N") from None
    if found.type not in ("cpu", "cuda"):
        raise UserError(f"device={device}: expected auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise UserError(f"device={device}: this machine has {count} CUDA devices; use device=cpu")
    return found


def _check_results_dir(results_dir: str) -> None:
    if results_dir.startswith("~"):
        raise UserError(f"results_dir={results_dir}: expected a path in full, such as $HOME/...")
    path = Path(results_dir).absolute()
    existing = next(part for part in [path, *path.parents] if part.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"results_dir={results_dir}: expected a folder to write to, and {existing} is not"
        )


def _check_bounds(node: DictConfig, prefix: str) -> None:
    typed: Any = OmegaConf.get_type(node)
    for field in fields(typed):
        name = field.name
        if OmegaConf.is_missing(node, name):
            raise UserError(f"{prefix}{name}: has no value")
        value = node[name]
        if isinstance(value, DictConfig):
            _check_bounds(value, f"{prefix}{name}.")
            continue
        if isinstance(value, ListConfig) and not value:
            raise UserError(f"{prefix}{name}=[]: expected at least one number")
        for item in value if isinstance(value, ListConfig) else [value]:
            _check_bound(prefix + name, item, field.metadata)


def _check_bound(key: str, value: Any, bounds: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if bounds["choices"]:
        expect(key, value, bounds["choices"])
    if isinstance(value, str):
        if not value:
            raise UserError(f"{key}=: expected a value")
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value}: expected a finite number")
    low, above = bounds["minimum"], bounds["above"]
    high = LARGEST if bounds["maximum"] is None else bounds["maximum"]
    if low is not None and not value >= low:
        raise UserError(f"{key}={value}: expected at least {low}")
    if above is not None and not value > above:
        raise UserError(f"{key}={value}: expected more than {above}")
    if not value <= high:
        raise UserError(f"{key}={value}: expected at most {high}")


def _check_normalisation(cfg: DictConfig) -> None:
    fits = "an ordinary actor has no spiking layers to normalise; expected bn=none"
    if cfg.actor.name == "ann" and cfg.bn.name != "none":
        raise UserError(f"bn={cfg.bn.name}: {fits} with actor=ann")
    if cfg.bn.rule == "none" and cfg.bn.recalibrate_every is not None:
        raise UserError(
            f"bn.recalibrate_every={cfg.bn.recalibrate_every}: bn.rule=none keeps no statistics; "
            "expected null"
        )
    if cfg.bn.rule != STRATEGIES[cfg.bn.name].rule:
        fitting = [name for name, s in STRATEGIES.items() if s.rule == cfg.bn.rule]
        raise UserError(
            f"bn.rule={cfg.bn.rule}: does not fit bn={cfg.bn.name}; "
            f"expected bn={' or bn='.join(fitting)}"
        )
    published = STRATEGIES[cfg.bn.name]
    for key, rule in ONLY_WITH_RULE.items():
        if cfg.bn.rule != rule and cfg.bn[key] != getattr(published, key):
            raise UserError(
                f"bn.{key}={cfg.bn[key]}: has no effect with bn={cfg.bn.name}, whose rule is "
                f"{cfg.bn.rule}; expected only with the {rule} rule"
            )


def _check_algorithm(cfg: DictConfig) -> None:
    fits = CRITICS[cfg.algo.name]
    if cfg.critic.name != fits:
        raise UserError(
            f"critic={cfg.critic.name}: does not fit algo={cfg.algo.name}; expected critic={fits}"
        )
    if cfg.algo.learning_starts >= cfg.total_steps:
        raise UserError(
            f"algo.learning_starts={cfg.algo.learning_starts}: nothing would be learned in "
            f"total_steps={cfg.total_steps}; expected less than that"
        )


def _check_environment(cfg: DictConfig) -> None:
    env = make_env(cfg.env.id)
    try:
        if not isinstance(env.action_space, spaces.Box):
            raise UserError(
                f"algo={cfg.algo.name}: acts in continuous spaces, and env.id={cfg.env.id} takes "
                f"{env.action_space}; expected an environment with Box actions, "
                "such as env=pendulum"
            )
        if not (np.isfinite(env.action_space.low) & np.isfinite(env.action_space.high)).all():
            raise UserError(
                f"env.id={cfg.env.id}: its actions have no bounds; expected an environment whose "
                "action space is finite"
            )
        _check_observations(cfg, env)
    finally:
        env.close()


def _check_observations(cfg: DictConfig, env: gymnasium.Env[Any, Any]) -> None:
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UserError(
            f"encoder={cfg.encoder.name}: takes a vector of numbers, and env.id={cfg.env.id} "
            f"observes {space}; expected an environment with one-dimensional Box observations"
        )
