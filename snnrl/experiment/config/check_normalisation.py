"""Checks of the settings of normalisations."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config import facts
from snnrl.experiment.config.choices import (
    classifies,
    on_policy,
    usual_normalisation,
)
from snnrl.experiment.config.nodes import root_of


def check_normalisation(key: str, bn: DictConfig, cfg: DictConfig) -> None:
    """Check a normalisation.

    :param key: ``bn`` or ``critic.bn``
    :raises UserError: a setting that does not fit the normalisation, or has no effect
    """
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


def check_ordinary(key: str, bn: DictConfig) -> None:
    """Check the normalisation of an ordinary network.

    :param key: ``bn`` or ``critic.bn``
    :raises UserError: it needs what such a network lacks
    """
    known = facts.components()["bn"]
    if (needed := known[bn.name].needs) is not None:
        choice = "bn" if key == "bn" else f"bn@{key}"
        fitting = ", ".join(name for name, choice in known.items() if choice.needs is None)
        raise UserError(
            f"{choice}={bn.name}: needs {needed}, which an ordinary network lacks; expected one "
            f"of {fitting}"
        )
