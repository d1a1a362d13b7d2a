"""Checks of actor, critic and target: what fits the algorithm and each other."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrl.errors import UserError
from snnrl.experiment.config import facts
from snnrl.experiment.config.check_normalisation import check_ordinary
from snnrl.experiment.config.choice_files import CONFIG_DIR
from snnrl.experiment.config.choices import (
    ordinary_normalisations,
    readout,
    usual_normalisation,
)
from snnrl.experiment.config.schema import SpikingActorConfig


def check_parts(cfg: DictConfig) -> None:
    """Check actor, critic and target.

    :raises UserError: one does not fit the algorithm, or a setting has no effect on it
    """
    for key, bn in ordinary_normalisations(cfg).items():
        check_ordinary(key, bn)
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
