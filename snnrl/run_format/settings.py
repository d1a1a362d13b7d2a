"""What the settings in ``config.yaml`` mean to whoever compares runs or looks for one."""

from __future__ import annotations

from typing import Any

NOT_SETTINGS = (
    "seed",
    "total_steps",
    "tracking",
    "checkpoint",
    "results_dir",
    "experiment_name",
    "device",
    "log_every",
    "retry",
)
"""Keys that do not change what is learned: runs that differ in them alone are one setting."""

CAME_LATER: dict[str, Any] = {
    "env.observation": "default",
    "env.n_envs": 1,
    "env.kwargs": {},
    "env.wrappers": [],
    "conv.name": "none",
    "loss.name": "none",
    "regulation.name": "none",
    "actor.readout": "auto",
    "evaluation.max_episode_steps": None,
    "seeding": "additive",
    "plugins": [],
}
"""Settings that earlier runs have no value of, and what those had."""

FREE = ("env.kwargs", "env.wrappers")
"""Settings that only the environment knows, of any form and length."""
