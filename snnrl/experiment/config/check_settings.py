"""Fast checks of a configuration, without agent and environment: bounds and consistency."""

from __future__ import annotations

import math
import os
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from snnrl.errors import UserError, expect
from snnrl.experiment.config import facts
from snnrl.experiment.config.choice_files import CONFIG_DIR
from snnrl.experiment.config.choices import (
    classifies,
    normalisations,
    on_policy,
    ordinary_normalisations,
    readout,
    rollout_size,
    usual_normalisation,
)
from snnrl.experiment.config.nodes import root_of
from snnrl.experiment.config.plugins import check_plugins
from snnrl.experiment.config.schema import PLACES, OffPolicyConfig, SpikingActorConfig
from snnrl.experiment.config.written import check_round_trip

SHORT = "experiment=debug, which is short and does everything that a run does"

LARGEST = 10**12
"""Limit of sizes and counts, beyond which counters overflow."""


def check_settings(cfg: DictConfig) -> None:
    """Check the settings of one composed configuration.

    :raises UserError: the first setting that does not fit, named by its key
    """
    check_bounds(cfg)
    check_plugins(cfg, PLACES)
    _check_parts(cfg)
    for key, bn in normalisations(cfg).items():
        _check_normalisation(key, bn, cfg)
    if classifies(cfg):
        _check_minibatch(cfg)
    elif on_policy(cfg):
        _check_rollout(cfg)
    else:
        _check_replay(cfg)
    _check_results_dir(cfg.results_dir)
    _check_experiment_name(cfg.experiment_name)
    check_round_trip(cfg)


def _check_results_dir(results_dir: str) -> None:
    if results_dir.startswith("~"):
        raise UserError(
            f"results_dir={results_dir}: expected a path without '~', such as $HOME/..."
        )
    path = Path(results_dir).absolute()
    try:
        existing = next(part for part in [path, *path.parents] if part.exists())
    except OSError as problem:
        raise UserError(
            f"results_dir={results_dir}: cannot write there ({problem.strerror})"
        ) from None
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"results_dir={results_dir}: expected a folder to write to, and {existing} is not"
        )


def _check_experiment_name(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"\w[\w.-]{0,39}", name):
        raise UserError(
            f"experiment_name={name!r}: expected at most 40 letters, digits, '_', '.' and '-', a "
            "letter or digit first"
        )


def check_bounds(node: DictConfig, prefix: str = "") -> None:
    """Check every setting of a configuration on its own.

    :raises UserError: one has no value, or is out of bounds
    """
    typed: Any = OmegaConf.get_type(node)
    for field in fields(typed):
        name = field.name
        if OmegaConf.is_missing(node, name):
            raise UserError(f"{prefix}{name}: has no value")
        value = node[name]
        if field.default_factory in (dict, list):
            continue  # Only the environment can check these.
        if isinstance(value, DictConfig) and is_dataclass(OmegaConf.get_type(value)):
            check_bounds(value, f"{prefix}{name}.")
            continue
        if isinstance(value, ListConfig) and not value and field.default_factory is MISSING:
            raise UserError(f"{prefix}{name}=[]: expected at least one number")
        if isinstance(value, DictConfig):
            continue  # These may have any form.
        for item in value if isinstance(value, ListConfig) else [value]:
            _check_bound(prefix + name, item, field.metadata)


def _check_bound(key: str, value: Any, bounds: Any) -> None:
    if value is None or isinstance(value, bool):
        return
    if bounds["choices"] and isinstance(value, str):
        expect(key, value, bounds["choices"], others=bounds.get("others", ()))
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


def _check_normalisation(key: str, bn: DictConfig, cfg: DictConfig) -> None:
    algo, refreshes = cfg.algo.name, on_policy(cfg)
    choice = "bn" if key == "bn" else f"bn@{key}"
    every = bn.recalibrate_every
    rule = bn.get("rule", "none")
    if rule == "none" and every is not None:
        raise UserError(
            f"{key}.recalibrate_every={every}: {choice}={bn.name} keeps no statistics; expected "
            "null"
        )
    _check_effect(key, bn, cfg)
    if rule == "none" and bn.refresh_kl is not None:
        raise UserError(
            f"{key}.refresh_kl={bn.refresh_kl}: {choice}={bn.name} keeps no statistics; expected "
            "null"
        )
    if key != "bn" and bn.refresh_kl is not None:
        raise UserError(
            f"{key}.refresh_kl={bn.refresh_kl}: bounds how far a policy moves, and a critic "
            "chooses no actions; expected null"
        )
    if refreshes and isinstance(every, int):
        raise UserError(
            f"{key}.recalibrate_every={every}: algo={algo} refreshes the statistics once per "
            "rollout, of algo.n_steps; expected auto, or null to refresh them by the update rule"
        )
    if isinstance(every, str) and not (refreshes and every == "auto"):
        fits = "auto or null" if refreshes else f"a number of {root_of(cfg).step}s, or null"
        raise UserError(f"{key}.recalibrate_every={every}: expected {fits}")
    usual = usual_normalisation(bn.name)
    if rule != usual["rule"] and "rule" in facts.components()["bn"][bn.name].says:
        fitting = [
            name
            for name, named in facts.components()["bn"].items()
            if "rule" in named.says and usual_normalisation(name)["rule"] == rule
        ]
        raise UserError(
            f"{key}.rule={rule}: does not fit {choice}={bn.name}; "
            f"expected {choice}={f' or {choice}='.join(fitting)}"
        )
    for name, needed in facts.only_with_rule().items():
        if rule != needed and name in bn and bn[name] != usual[name]:
            raise UserError(
                f"{key}.{name}={bn[name]}: has no effect with {choice}={bn.name}, whose rule is "
                f"{rule}; expected only with the {needed} rule"
            )
    _check_confidence(key, bn, cfg)
    if refreshes:
        _check_refresh(key, bn, cfg)


def _check_effect(key: str, bn: DictConfig, cfg: DictConfig) -> None:
    usual, algorithms = usual_normalisation(bn.name), facts.algorithms()
    for name in algorithms[cfg.algo.name].without_effect:
        if name in bn and bn[name] != usual[name]:
            fitting = [algo for algo, its in algorithms.items() if name not in its.without_effect]
            if classifies(cfg):
                raise UserError(
                    f"{key}.{name}={bn[name]}: has no effect on a classifier; expected "
                    f"{key}.{name}={_written(usual[name])}"
                )
            source = "rollouts" if on_policy(cfg) else "replay"
            raise UserError(
                f"{key}.{name}={bn[name]}: has no effect with algo={cfg.algo.name}, which learns "
                f"from {source}; expected only with algo={' or algo='.join(fitting)}"
            )


def _written(value: Any) -> str:
    return "null" if value is None else str(value)


def _check_confidence(key: str, bn: DictConfig, cfg: DictConfig) -> None:
    noise = bn.get("process_noise")
    if noise is not None and bn.confidence != "kalman":
        raise UserError(
            f"{key}.process_noise={noise}: has no effect with {key}.confidence={bn.confidence}; "
            f"expected null, or {key}.confidence=kalman"
        )
    if noise is not None and bn.smoothing != usual_normalisation(bn.name)["smoothing"]:
        raise UserError(
            f"{key}.smoothing={bn.smoothing}: has no effect with {key}.process_noise={noise}; "
            f"expected only with {key}.process_noise=null"
        )
    part = "actor" if key == "bn" else "critic"
    if bn.get("effective_n") == "auto" and cfg[part].get("time_steps", 1) == 1:
        raise UserError(
            f"{key}.effective_n=auto: one time step has no autocorrelation over steps; expected a "
            f"number, null, or {part}.time_steps=2 or more"
        )


def _check_refresh(key: str, bn: DictConfig, cfg: DictConfig) -> None:
    usual = usual_normalisation(bn.name)
    algo = cfg.algo.name
    for name in facts.only_with_rule():
        if bn.recalibrate_every == "auto" and name in bn and bn[name] != usual[name]:
            raise UserError(
                f"{key}.{name}={bn[name]}: has no effect with algo={algo} and "
                f"{key}.recalibrate_every=auto, which uses no update rule; expected only with "
                f"{key}.recalibrate_every=null"
            )


def _check_parts(cfg: DictConfig) -> None:
    for key, bn in ordinary_normalisations(cfg).items():
        _check_ordinary(key, bn)
    for group in ("loss", "regulation"):
        if cfg[group].name != "none" and cfg.actor.name != "spiking":
            name = cfg[group].name
            critic = f", or {group}@critic.{group}={name}" if cfg.critic.name == "spiking" else ""
            raise UserError(
                f"{group}={name}: has no effect with actor={cfg.actor.name}, which does not spike; "
                f"expected {group}=none{critic}"
            )
    if cfg.actor.name == "spiking":
        _check_readout(cfg)
    critics = facts.algorithm(cfg).critics
    if cfg.critic.name not in critics:
        raise UserError(
            f"critic={cfg.critic.name}: does not fit algo={cfg.algo.name}; "
            f"expected critic={' or critic='.join(critics)}"
        )
    _check_target(cfg)


def _check_target(cfg: DictConfig) -> None:
    target, usual = cfg.target.name, facts.algorithm(cfg).targets[0]
    if target not in facts.algorithm(cfg).targets:
        fitting = [name for name, its in facts.algorithms().items() if target in its.targets]
        raise UserError(
            f"target={target}: does not fit algo={cfg.algo.name}, whose targets need no next "
            f"action of an actor; expected target={usual}, or algo={' or algo='.join(fitting)}"
        )
    if target == usual:
        return
    if not cfg.algo.target_networks:
        raise UserError(
            f"target={target}: is a target network, and algo.target_networks=false has none; "
            f"expected algo.target_networks=true, or target={usual}"
        )
    stats = usual_normalisation(cfg.bn.name)["target_stats"]
    if cfg.bn.target_stats != stats:
        raise UserError(
            f"bn.target_stats={cfg.bn.target_stats}: has no effect with target={target}, which has "
            f"no statistics; expected bn.target_stats={stats}"
        )


def _check_ordinary(key: str, bn: DictConfig) -> None:
    """Refuse a normalisation that an ordinary network cannot have."""
    known = facts.components()["bn"]
    if (needed := known[bn.name].needs) is not None:
        choice = "bn" if key == "bn" else f"bn@{key}"
        fitting = ", ".join(name for name, choice in known.items() if choice.needs is None)
        raise UserError(
            f"{choice}={bn.name}: needs {needed}, which an ordinary network lacks; expected one "
            f"of {fitting}"
        )


def _check_readout(cfg: DictConfig) -> None:
    actor = cfg.actor
    if readout(cfg) == "linear" and actor.population != _usual_population():
        raise UserError(
            f"actor.population={actor.population}: has no effect with algo={cfg.algo.name} and "
            f"actor.readout={actor.readout}, which is linear; expected only with "
            "actor.readout=population or membrane"
        )
    if readout(cfg) == "linear" and actor.lateral != "none":
        raise UserError(
            f"actor.lateral={actor.lateral}: connects the neurons of output populations, and "
            f"algo={cfg.algo.name} with actor.readout={actor.readout}, which is linear, has none; "
            "expected actor.readout=population or membrane, or actor.lateral=none"
        )
    usual = {field.name: field.default for field in fields(SpikingActorConfig)}
    for name in ("membrane_value", "membrane_decay"):
        if readout(cfg) != "membrane" and actor[name] != usual[name]:
            raise UserError(
                f"actor.{name}={actor[name]}: has no effect with actor.readout={actor.readout}; "
                "expected only with actor.readout=membrane"
            )
        if actor.time_steps == 1 and actor[name] != usual[name]:
            raise UserError(
                f"actor.{name}={actor[name]}: has no effect with actor.time_steps=1, of which each "
                f"potential is the last; expected actor.{name}={usual[name]}, or "
                "actor.time_steps=2 or more"
            )


def _usual_population() -> int:
    values: Any = OmegaConf.load(CONFIG_DIR / "actor" / "spiking.yaml")
    return int(values.population)


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


def _check_minibatch(cfg: DictConfig) -> None:
    batch = cfg.algo.batch_size
    if batch > cfg.data.examples:
        raise UserError(
            f"algo.batch_size={batch}: more than data.examples={cfg.data.examples}; expected at "
            "most that many"
        )


def _check_replay(cfg: DictConfig) -> None:
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
            f"total_steps={cfg.total_steps}; expected less than that, or {SHORT}"
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


def _nearest_divisor(size: int, n: int) -> int:
    """Return the divisor of ``size``, at least 2, nearest to ``n``; the smaller of two."""
    small = [d for d in range(1, math.isqrt(size) + 1) if size % d == 0]
    divisors = {*small, *(size // d for d in small)} - {1}
    return min(divisors, key=lambda d: (abs(d - n), d))


def _check_rollout(cfg: DictConfig) -> None:
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
