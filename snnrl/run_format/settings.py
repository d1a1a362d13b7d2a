"""Roles of the settings in ``config.yaml`` when runs are compared or searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NOT_SETTINGS = (
    "seed",
    "total_steps",
    "tracking",
    "checkpoint",
    "results_dir",
    "experiment_name",
    "device",
    "threads",
    "deterministic",
    "log_every",
    "retry",
    "epochs",
)
"""Keys that do not affect learning: runs that differ only in them share a setting."""

SCHEDULES = ("surrogate.scale_end",)
"""Settings that, unless null, spread a change over the whole of training: ``total_steps`` then
affects learning."""

NOT_SETTINGS_OF_DATA = ("data.root",)
"""Settings of a data set that do not affect learning: where its files are."""

CAME_LATER: dict[str, Any] = {
    "env.observation": "default",
    "env.n_envs": 1,
    "env.kwargs": {},
    "env.wrappers": [],
    "conv.name": "none",
    "conv.paddings": None,
    "conv.pools": None,
    "loss.name": "none",
    "loss.side": "both",
    "regulation.name": "none",
    "target.name": "soft",
    "surrogate.scale_end": None,
    "encoder.mean_range": 1.0,
    "encoder.std": math.sqrt(0.05),
    "encoder.squash": True,
    "actor.readout": "auto",
    "actor.membrane_value": "last",
    "actor.membrane_decay": 1.0,
    "actor.lateral": "none",
    "bn.refresh_kl": None,
    "critic.bn.refresh_kl": None,
    "critic.bn": None,
    "critic.loss": None,
    "critic.loss.side": "both",
    "critic.regulation": None,
    "evaluation.max_episode_steps": None,
    "seeding": "additive",
    "algo.critic_learning_rate": None,
    "algo.joint_pass": False,
    "algo.target_networks": True,
    "algo.normalize_observations": False,
    "algo.clip_observations": 3.0,
    "algo.common_mode": False,
    "plugins": [],
    **{
        f"{place}.{name}": value
        for place in ("bn", "critic.bn")
        for name, value in (("confidence", "published"), ("process_noise", None))
    },
}
"""Settings that earlier runs have no value for, and the value in effect then."""

WITHOUT_DEFAULT = {"algo.normalize_observations": ("ppo",)}
"""Settings of :data:`CAME_LATER` that runs of some algorithms have had from the start."""

FREE = ("env.kwargs", "env.wrappers")
"""Settings that only the environment can check, of any form and length."""


def measure(config: Mapping[str, Any]) -> str:
    """Return what the column ``return`` of evaluations.csv holds: ``return``, or ``accuracy``.

    Runs of a data set have the accuracy, in per cent; all of the test split is one episode.

    :param config: the configuration, nested
    """
    return "accuracy" if "data" in config else "return"


def step_of(config: Mapping[str, Any]) -> str:
    """Return what a step of a run is: an environment step, or a training example.

    :param config: the configuration, nested
    """
    return "training example" if "data" in config else "environment step"
