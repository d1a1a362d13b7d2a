"""What follows from the choices of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from snnrl.experiment.config import facts

if TYPE_CHECKING:
    from snnrl.agents import SpikingAgent


def agent_class(cfg: DictConfig) -> type[SpikingAgent]:
    """Return the class of the agent, whose attributes are the facts of its algorithm."""
    # It takes seconds to import: what needs no agent asks ``facts.algorithm``.
    from snnrl.agents import AGENTS

    return AGENTS[cfg.algo.name]


def on_policy(cfg: DictConfig) -> bool:
    """Return whether the agent learns from rollouts; the others learn from replay."""
    return facts.algorithm(cfg).experience == "rollout"


def environment_arguments(env: DictConfig) -> dict[str, Any]:
    """The arguments of :func:`snnrl.envs.make_env`.

    :param env: of a run's configuration, also one that was written before there were all settings
    """
    values = OmegaConf.to_container(env)
    assert isinstance(values, dict)
    named = {
        str(key): values[key] for key in ("observation", "kwargs", "wrappers") if key in values
    }
    return {"env_id": values["id"], **named}


def spiking_parts(cfg: DictConfig) -> dict[str, DictConfig]:
    """The group of each part that spikes by its key, ``actor`` and ``critic``."""
    return {part: cfg[part] for part in ("actor", "critic") if cfg[part].name == "spiking"}


def normalisations(cfg: DictConfig) -> dict[str, DictConfig]:
    """The normalisation of the actor at ``bn``, and a spiking critic's at ``critic.bn``."""
    own = {"critic.bn": cfg.critic.bn} if cfg.critic.name == "spiking" else {}
    return {"bn": cfg.bn, **own}


def usual_normalisation(name: str) -> dict[str, Any]:
    """Return the settings of ``bn=<name>`` where nobody gives others, and a ``rule`` of ``none``
    where there is none."""
    return {"rule": "none", **facts.components()["bn"][name].defaults()}


def rollout_size(cfg: DictConfig) -> int:
    """Steps of all environments between two updates; a run may end beyond its length by fewer."""
    steps: int = cfg.algo.n_steps if on_policy(cfg) else cfg.algo.train_freq
    return steps * int(cfg.env.n_envs)
