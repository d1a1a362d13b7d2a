"""Facts derived from the choices of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from snnrl.experiment.config import facts
from snnrl.experiment.config.schema import PLACES

if TYPE_CHECKING:
    from snnrl.agents.base import SpikingAgent


def agent_class(cfg: DictConfig) -> type[SpikingAgent]:
    """Return the class of the agent, whose attributes are the facts of its algorithm."""
    # Importing torch takes seconds: code that needs no agent uses ``facts.algorithm``.
    from snnrl.agents import LEARNERS

    return LEARNERS[cfg.algo.name]


def classifies(cfg: DictConfig) -> bool:
    """Return whether a data set is learned rather than an environment."""
    return "data" in cfg


def on_policy(cfg: DictConfig) -> bool:
    """Return whether the agent learns from rollouts rather than from replay."""
    return facts.algorithm(cfg).experience == "rollout"


def environment_arguments(env: DictConfig) -> dict[str, Any]:
    """Return the arguments of :func:`snnrl.envs.make_env`.

    :param env: ``env`` of a run's configuration, also one written before all settings existed
    """
    values = OmegaConf.to_container(env)
    assert isinstance(values, dict)
    named = {
        str(key): values[key] for key in ("observation", "kwargs", "wrappers") if key in values
    }
    return {"env_id": values["id"], **named}


def spiking_parts(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the configuration of each spiking part by its key, ``actor`` and ``critic``."""
    return {part: cfg[part] for part in ("actor", "critic") if cfg[part].name == "spiking"}


def choices_of_places(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return what fills the further places of groups, such as ``critic.bn``, by place."""
    found = {place: OmegaConf.select(cfg, place) for place in PLACES}
    return {place: node for place, node in found.items() if isinstance(node, DictConfig)}


def normalisations(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the normalisation of the actor (``bn``), and that of the critic (``critic.bn``) if it
    has one."""
    own = cfg.critic.get("bn")
    return {"bn": cfg.bn, **({} if own is None else {"critic.bn": own})}


def ordinary_normalisations(cfg: DictConfig) -> dict[str, DictConfig]:
    """Return the normalisations of ordinary networks, as :func:`normalisations` does."""
    places = {"bn": cfg.actor, "critic.bn": cfg.critic}
    return {
        key: bn
        for key, bn in normalisations(cfg).items()
        if bn.name != "none" and places[key].name != "spiking"
    }


def has_schedule(cfg: DictConfig) -> bool:
    """Return whether a component changes over the whole of training, so that ``total_steps`` is
    part of what is learned.

    :param cfg: configuration of a run, also one written before all settings existed
    """
    known = facts.components()
    chosen = [(group, cfg[group]) for group in known if group in cfg]
    chosen += [(PLACES[place], node) for place, node in choices_of_places(cfg).items()]
    return any(
        node.get(setting) is not None
        for group, node in chosen
        if node.name in known[group]
        for setting in known[group][node.name].schedules
    )


def convolutions(conv: DictConfig) -> dict[str, list[int]]:
    """Return the lists that describe convolutions, without those that are null."""
    keys = ("channels", "kernels", "strides", "paddings", "pools")
    return {key: list(conv[key]) for key in keys if conv.get(key) is not None}


def strategy_arguments(bn: DictConfig) -> dict[str, Any]:
    """Return a normalisation as :func:`snnrl.nn.norm.make_strategy` takes it."""
    values = OmegaConf.to_container(bn)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def usual_normalisation(name: str) -> dict[str, Any]:
    """Return the default settings of ``bn=<name>``, with a ``rule`` of ``none`` where there is
    none."""
    return {"rule": "none", **facts.components()["bn"][name].defaults()}


def readout(cfg: DictConfig) -> str:
    """Return the name of the readout of a spiking actor."""
    chosen: str = cfg.actor.readout
    return facts.algorithm(cfg).usual_readout if chosen == "auto" else chosen


def rollout_size(cfg: DictConfig) -> int:
    """Return the steps of all environments between two updates; a run may overshoot its length by
    less.

    Of a data set: the examples of a minibatch.
    """
    if classifies(cfg):
        return int(cfg.algo.batch_size)
    steps: int = cfg.algo.n_steps if on_policy(cfg) else cfg.algo.train_freq
    return steps * int(cfg.env.n_envs)
