"""Construction of an agent and its environments from a checked configuration."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import DtypeObservation
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from snnrl.agents.base import SpikingAgent
from snnrl.agents.minibatches import MinibatchAgent
from snnrl.agents.normalization import ObservationNormalizer
from snnrl.data import DataStream
from snnrl.envs import Stateful, make_env
from snnrl.experiment.accuracy import AccuracyEvaluator
from snnrl.experiment.config.check_data import data_of
from snnrl.experiment.config.choices import (
    agent_class,
    classifies,
    convolutions,
    environment_arguments,
    spiking_parts,
    strategy_arguments,
)
from snnrl.experiment.config.validate import kernel_for, resolve_device
from snnrl.experiment.episode_starts import AdditiveStarts, EpisodeStarts
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.workers import Workers
from snnrl.run_format.settings import CAME_LATER
from snnrl.seeds import SEEDINGS, stream

PRELOADED = ("hydra", "snnrl.experiment.builder")
"""Modules imported once for all environment processes rather than once in each."""


def build_environment(cfg: DictConfig, **options: Any) -> gymnasium.Env[Any, Any]:
    """Return one environment.

    :param cfg: configuration of a run, also one written before all settings existed
    :param options: options of :func:`snnrl.envs.make_env`
    """
    return make_env(**environment_arguments(cfg.env), **options)


def build_training_env(cfg: DictConfig) -> VecEnv:
    """Return the parallel training environments (subprocesses if more than one), or the training
    examples."""
    if classifies(cfg):
        generator = stream(cfg.seed, "examples")
        return DataStream(data_of(cfg), cfg.algo.batch_size, generator)
    arguments, seeding = environment_arguments(cfg.env), SEEDINGS[cfg.seeding]
    normalised = cfg.algo.get("normalize_observations", False)

    def make() -> gymnasium.Env[Any, Any]:
        env = make_env(**arguments)
        space = env.observation_space
        whole = space.dtype is not None and not np.issubdtype(space.dtype, np.floating)
        if normalised and whole and len(space.shape or ()) == 1:
            # PPO stores normalised observations in the observations' dtype: bytes cannot hold them.
            env = DtypeObservation(env, np.float32)
        return Stateful(Monitor(env), seeding)

    if cfg.env.n_envs == 1:
        return DummyVecEnv([make])
    return Workers(make, cfg.env.n_envs, cfg.seed, seeding, PRELOADED)


def build_evaluator(
    cfg: DictConfig, episodes: int | None = None, seed: int | None = None
) -> Evaluator | AccuracyEvaluator:
    """Return an evaluator with environments, seeds and generators of its own, or the test split.

    :param episodes: episodes to play; ``None``: those of the configuration
    :param seed: seed of the episodes; ``None``: the run's own
    """
    if classifies(cfg):
        return AccuracyEvaluator(data_of(cfg).test)
    starts = episode_starts(cfg, cfg.seed if seed is None else seed)
    limit = cfg.evaluation.max_episode_steps
    episodes = episodes or cfg.evaluation.episodes
    return Evaluator(lambda: build_environment(cfg), episodes, starts, limit)


def episode_starts(cfg: DictConfig, seed: int) -> EpisodeStarts:
    """Return the starts of evaluation episodes, in the run's way of seeding.

    :param cfg: configuration of a run, also one written before ``seeding`` existed
    :param seed: seed of the run, for the episodes of its own evaluations, or another one
    """
    way = cfg.get("seeding", CAME_LATER["seeding"])
    return AdditiveStarts(seed) if way == "additive" else EpisodeStarts(seed)


def build_agent(cfg: DictConfig, env: VecEnv, **changes: Any) -> SpikingAgent:
    """Return a new agent.

    :param changes: arguments of the algorithm that replace those of the configuration
    """
    algo = OmegaConf.to_container(cfg.algo)
    assert isinstance(algo, dict)
    arguments: dict[str, Any] = {str(key): value for key, value in algo.items()}
    del arguments["name"]
    if "exploration_noise" in arguments:
        arguments["action_noise"] = _noise(env, arguments.pop("exploration_noise"))
    if "ent_coef" in arguments and arguments["ent_coef"] is None:
        arguments["ent_coef"] = "auto"
    observations = arguments.pop("normalize_observations", False)
    if "normalize_rewards" in arguments:
        env = _normalised(env, observations, arguments.pop("normalize_rewards"), arguments["gamma"])
    elif (clip := arguments.pop("clip_observations", None)) is not None and observations:
        env = ObservationNormalizer(env, clip)
    agent: Any = agent_class(cfg)(
        "SpikingPolicy" if spiking_parts(cfg) else "AnnPolicy",
        env,
        policy_kwargs=policy_arguments(cfg),
        seed=cfg.seed,
        device=resolve_device(cfg.device),
        **{**arguments, **changes},
    )
    if isinstance(agent, MinibatchAgent):
        agent.seed_recalibration(SEEDINGS[cfg.seeding])
    return _silent(agent)


def load_agent(cfg: DictConfig, path: str, env: VecEnv | None = None) -> SpikingAgent:
    """Return the agent saved at ``path``, with the kernel that the configuration resolves to here:
    ``auto`` depends on the device.

    :param env: environment in which to resume training; it is not reset
    """
    agent = agent_class(cfg).load(
        path,
        env=env,
        device=resolve_device(cfg.device),
        force_reset=False,
        kernel=kernel_for(cfg) if spiking_parts(cfg) else None,
    )
    return _silent(agent)


def _silent(agent: SpikingAgent) -> SpikingAgent:
    # Without its own logger, Stable-Baselines3 makes a folder in /tmp that is never removed.
    agent.set_logger(Logger(folder=None, output_formats=[]))
    # A run measures activity at its evaluations.
    agent.logs_activity = False
    return agent


def _normalised(env: VecEnv, observations: bool, rewards: bool, gamma: float) -> VecEnv:
    vectors = len(env.observation_space.shape or ()) == 1
    if not (observations and vectors) and not rewards:
        return env
    return VecNormalize(env, norm_obs=observations and vectors, norm_reward=rewards, gamma=gamma)


def _noise(env: VecEnv, deviation: float) -> NormalActionNoise:
    actions = env.action_space.shape or ()
    return NormalActionNoise(np.zeros(actions), np.full(actions, deviation))


def policy_arguments(cfg: DictConfig) -> dict[str, Any]:
    """Return the ``policy_kwargs`` of the agent."""
    agent = agent_class(cfg)
    # Agents make Adam fused anyway. Given here, it is not for the optimiser of SAC's entropy
    # coefficient, which keeps computing as in recorded runs.
    shared: dict[str, Any] = {
        "net_arch": _architecture(cfg),
        "optimizer_kwargs": {"fused": True, **agent.usual_adam},
    }
    if cfg.conv.name != "none":
        shared["conv"] = convolutions(cfg.conv)
    if cfg.target.name != "soft":
        shared["target"] = OmegaConf.to_container(cfg.target)
    critic = {} if agent.critic_key is None else {"critic": _critic(cfg.critic)}
    if not spiking_parts(cfg):
        normalised = {} if cfg.bn.name == "none" else {"bn": strategy_arguments(cfg.bn)}
        return {**shared, **normalised, **({} if critic.get("critic") == "ann" else critic)}
    groups = {g: OmegaConf.to_container(cfg[g]) for g in ("neuron", "surrogate", "encoder")}
    arguments = {
        **shared,
        **groups,
        "bn": strategy_arguments(cfg.bn),
        "kernel": kernel_for(cfg),
    }
    if cfg.loss.name != "none":
        arguments["losses"] = [OmegaConf.to_container(cfg.loss)]
    if cfg.regulation.name != "none":
        arguments["regulation"] = OmegaConf.to_container(cfg.regulation)
    if cfg.actor.name == "spiking":
        arguments |= {key: cfg.actor[key] for key in ("time_steps", "population", "lateral")}
        arguments["readout"] = _readout(cfg.actor)
    if agent.critic_key is not None:
        arguments |= {"actor": cfg.actor.name, **critic}
    return arguments


def _architecture(cfg: DictConfig) -> list[int] | dict[str, list[int]]:
    actor, key = list(cfg.actor.hidden), agent_class(cfg).critic_key
    return actor if key is None else {"pi": actor, key: list(cfg.critic.hidden)}


def _readout(actor: DictConfig) -> str | dict[str, Any]:
    name: str = actor.readout
    if name != "membrane":
        return name
    return {"name": name, "value": actor.membrane_value, "decay": actor.membrane_decay}


def _critic(critic: DictConfig) -> str | dict[str, Any]:
    if critic.name != "spiking":
        bn = critic.get("bn")
        return "ann" if bn is None else {"name": "ann", "bn": strategy_arguments(bn)}
    arguments = {"bn": strategy_arguments(critic.bn), "time_steps": critic.time_steps}
    if critic.loss is not None:
        arguments["losses"] = [OmegaConf.to_container(critic.loss)]
    if critic.regulation is not None:
        arguments["regulation"] = OmegaConf.to_container(critic.regulation)
    return {"name": "spiking", **arguments}
