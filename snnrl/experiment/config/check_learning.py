"""Checks of the settings of learning: batches, rollouts, the replay buffer."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config import facts
from snnrl.experiment.config.algorithms import OffPolicyConfig
from snnrl.experiment.config.choice_files import CONFIG_DIR
from snnrl.experiment.config.choices import (
    normalisations,
    rollout_size,
    usual_normalisation,
)

SHORT = "experiment=debug, which is short and does everything that a run does"


def check_replay(cfg: DictConfig) -> None:
    """Check what algorithms that learn from replay need.

    :raises UserError: the first setting that does not fit, has no effect, or from which
        nothing would be learned
    """
    algo = cfg.algo
    if algo.get("joint_pass", False):
        _check_joint_pass(cfg)
    if not algo.get("target_networks", True):
        _check_without_targets(cfg)
    (clip,) = (field for field in fields(OffPolicyConfig) if field.name == "clip_observations")
    if not algo.normalize_observations and algo.clip_observations != clip.default:
        raise UserError(
            f"algo.clip_observations={algo.clip_observations}: has no effect with "
            "algo.normalize_observations=false; expected only with "
            "algo.normalize_observations=true"
        )
    if algo.get("common_mode", False) and cfg.actor.name != "spiking":
        raise UserError(
            f"algo.common_mode=true: corrects spiking values, and actor={cfg.actor.name} is an "
            "ordinary Q-network; expected actor=spiking, or algo.common_mode=false"
        )
    if algo.gradient_steps == 0:
        raise UserError(
            "algo.gradient_steps=0: nothing would be learned; expected at least 1, or -1 for as "
            "many as environment steps"
        )
    if algo.learning_starts >= cfg.total_steps:
        raise UserError(
            f"algo.learning_starts={algo.learning_starts}: nothing would be learned in "
            f"total_steps={cfg.total_steps}; expected less than that, such as "
            f"algo.learning_starts={cfg.total_steps // 10}, or {SHORT}"
        )
    n_envs = cfg.env.n_envs
    if algo.buffer_size < n_envs:
        raise UserError(
            f"algo.buffer_size={algo.buffer_size}: too small for one transition of each of "
            f"env.n_envs={n_envs}; expected at least {n_envs}"
        )
    if not algo.get("replacement", True):
        for key in ("learning_starts", "buffer_size"):
            if algo[key] < algo.batch_size * n_envs:
                raise UserError(
                    f"algo.{key}={algo[key]}: too few transitions for minibatches of "
                    f"algo.batch_size={algo.batch_size} without replacement; expected at least "
                    f"{algo.batch_size * n_envs}, or algo.replacement=true"
                )


def _check_joint_pass(cfg: DictConfig) -> None:
    own = cfg.critic.get("bn")
    name = "none" if own is None else own.name
    if cfg.algo.target_networks:
        raise UserError(
            "algo.joint_pass=true: the critic itself values the next pair, which "
            "algo.target_networks=true leaves to a target; expected algo.target_networks=false"
        )
    if own is None or own.get("rule", "none") == "none":
        known = facts.components()["bn"]
        fitting = [name for name in known if usual_normalisation(name)["rule"] != "none"]
        if cfg.critic.name != "spiking":
            fitting = [name for name in fitting if known[name].needs is None]
        raise UserError(
            f"algo.joint_pass=true: bn@critic.bn={name} uses no statistics of the batch; expected "
            f"one of {', '.join(fitting)}"
        )


def _check_without_targets(cfg: DictConfig) -> None:
    """Refuse settings of target networks where there are none."""
    values: Any = OmegaConf.load(CONFIG_DIR / "algo" / f"{cfg.algo.name}.yaml")
    found = {"algo.tau": (cfg.algo.tau, values.get("algo", values).tau)}
    for key, bn in normalisations(cfg).items():
        found[f"{key}.target_stats"] = (
            bn.target_stats,
            usual_normalisation(bn.name)["target_stats"],
        )
    for key, (value, usual) in found.items():
        if value != usual:
            raise UserError(
                f"{key}={value}: has no effect with algo.target_networks=false; expected only with "
                "algo.target_networks=true"
            )


def check_minibatch(cfg: DictConfig) -> None:
    """Check the minibatch of a classifier.

    :raises UserError: it is larger than the data
    """
    batch = cfg.algo.batch_size
    if batch > cfg.data.examples:
        raise UserError(
            f"algo.batch_size={batch}: more than data.examples={cfg.data.examples}; expected at "
            "most that many"
        )


def check_rollout(cfg: DictConfig) -> None:
    """Check the rollout of PPO.

    :raises UserError: minibatches do not divide it, or it is too short or too long
    """
    size, batch = rollout_size(cfg), cfg.algo.batch_size
    what = f"algo.n_steps={cfg.algo.n_steps} times env.n_envs={cfg.env.n_envs}"
    if size < 2:
        raise UserError(f"{what}: one transition has no standard deviation; expected at least 2")
    if size % batch:
        closest = _nearest_divisor(size, batch)
        raise UserError(
            f"algo.batch_size={batch}: does not divide the {size} transitions of a rollout "
            f"({what}); expected a divisor such as {closest}"
        )
    if cfg.total_steps < size:
        raise UserError(
            f"total_steps={cfg.total_steps}: nothing would be learned; expected at least the "
            f"{size} of a rollout ({what}), or {SHORT}"
        )


def _nearest_divisor(size: int, n: int) -> int:
    """Return the divisor of ``size``, at least 2, nearest to ``n``; the smaller of two."""
    small = [d for d in range(1, math.isqrt(size) + 1) if size % d == 0]
    divisors = {*small, *(size // d for d in small)} - {1}
    return min(divisors, key=lambda d: (abs(d - n), d))
