"""From a checked configuration to an agent and its environments."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import DtypeObservation
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3
from snnrl.agents.base import SpikingAgent
from snnrl.envs import Stateful, make_env
from snnrl.errors import UserError, expect
from snnrl.experiment.choices import spiking_parts
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.validate import kernel_for, resolve_device

AGENTS: dict[str, type[SpikingAgent]] = {
    "td3": TD3,
    "ddpg": DDPG,
    "sac": SAC,
    "dqn": DQN,
    "ppo": PPO,
}

EVALUATION_SEED_OFFSET = 100
"""Evaluation episodes start from seed + 100, as in the published protocol."""

PRELOADED = ("hydra", "snnrl.experiment.builder")
"""Imported once for all processes of environments, in place of once in each."""

PPO_ADAM_EPS = 1e-5
"""What PPO's Adam adds to its denominator, in Stable-Baselines3 as in OpenAI's Baselines."""


def build_environment(cfg: DictConfig, **options: Any) -> gymnasium.Env[Any, Any]:
    """One environment.

    :param cfg: a run's configuration, also one that was written before there was
        ``env.observation``
    :param options: those of :func:`snnrl.envs.make_env`
    """
    return make_env(cfg.env.id, cfg.env.get("observation", "default"), **options)


def build_training_env(cfg: DictConfig) -> VecEnv:
    """The environments that are learned from, with seeds seed, seed + 1, ... of their own."""

    id_, observation = cfg.env.id, cfg.env.observation
    normalised = cfg.algo.name == "ppo" and cfg.algo.normalize_observations

    def make() -> gymnasium.Env[Any, Any]:
        env = make_env(id_, observation)
        space = env.observation_space
        whole = space.dtype is not None and not np.issubdtype(space.dtype, np.floating)
        if normalised and whole and len(space.shape or ()) == 1:
            # PPO keeps what its policy saw in the type of the observations: no room in bytes.
            env = DtypeObservation(env, np.float32)
        return Stateful(Monitor(env))

    if cfg.env.n_envs == 1:
        return DummyVecEnv([make])
    multiprocessing.set_forkserver_preload(list(PRELOADED))
    return SubprocVecEnv([_apart(make)] * cfg.env.n_envs, start_method="forkserver")


def build_evaluator(cfg: DictConfig) -> Evaluator:
    """As many environments as evaluation episodes, with seeds of their own."""
    envs = [build_environment(cfg) for _ in range(cfg.evaluation.episodes)]
    return Evaluator(envs, cfg.seed + EVALUATION_SEED_OFFSET)


def build_agent(cfg: DictConfig, env: VecEnv, **changes: Any) -> SpikingAgent:
    """A new agent.

    :param changes: arguments of the algorithm to use in place of the configuration's
    """
    algo = OmegaConf.to_container(cfg.algo)
    assert isinstance(algo, dict)
    arguments: dict[str, Any] = {str(key): value for key, value in algo.items()}
    name = arguments.pop("name")
    if name in ("td3", "ddpg"):
        arguments["action_noise"] = _noise(env, arguments.pop("exploration_noise"))
    if name == "sac" and arguments["ent_coef"] is None:
        arguments["ent_coef"] = "auto"
    if name == "ppo":
        env = _normalised(
            env,
            arguments.pop("normalize_observations"),
            arguments.pop("normalize_rewards"),
            arguments["gamma"],
        )
    agent = AGENTS[name](
        "SpikingPolicy" if spiking_parts(cfg) else "AnnPolicy",
        env,
        policy_kwargs=_policy_arguments(cfg),
        seed=cfg.seed,
        device=resolve_device(cfg.device),
        **{**arguments, **changes},
    )
    return _silent(agent)


def load_agent(cfg: DictConfig, path: str, env: VecEnv | None = None) -> SpikingAgent:
    """The agent that was saved at ``path``, computing as the configuration has it here: ``auto``
    is another kernel on another device.

    :param env: environment to go on learning in, left as it is (not reset)
    """
    saved, *_ = load_from_zip_file(path, device="cpu")
    assert saved is not None
    arguments = saved["policy_kwargs"]
    here = {**arguments, "kernel": kernel_for(cfg)} if "kernel" in arguments else arguments
    agent = AGENTS[cfg.algo.name].load(
        path,
        env=env,
        device=resolve_device(cfg.device),
        force_reset=False,
        custom_objects={"policy_kwargs": here},
    )
    return _silent(agent)


def _silent(agent: SpikingAgent) -> SpikingAgent:
    # Without a logger of its own, Stable-Baselines3 makes a folder in /tmp that nobody removes.
    agent.set_logger(Logger(folder=None, output_formats=[]))
    return agent


def load_trained(cfg: DictConfig, path: Path) -> SpikingAgent:
    """The agent of ``model.zip``, to act with on any machine: on its CPU.

    :raises UserError: the file is not one that a run wrote
    """
    expect("algo", cfg.algo.name, AGENTS)
    try:
        # An agent that only acts needs no room for experience.
        small = {} if cfg.algo.name == "ppo" else {"buffer_size": 1}
        return AGENTS[cfg.algo.name].load(path, device="cpu", custom_objects=small)
    except (ValueError, BadZipFile) as problem:
        raise UserError(f"{path}: expected a model that a run has saved") from problem


def use_threads(threads: int) -> None:
    """Let torch use so many CPU threads, whatever the machine has."""
    torch.set_num_threads(threads)


def _apart(make: Callable[[], gymnasium.Env[Any, Any]]) -> Callable[[], gymnasium.Env[Any, Any]]:
    """Make the environment in a process group of its own: a signal to the run's (Ctrl-C) must
    leave it alive, because the run still has to save its state."""

    def make_apart() -> gymnasium.Env[Any, Any]:
        os.setpgid(0, 0)
        return make()

    return make_apart


def _normalised(env: VecEnv, observations: bool, rewards: bool, gamma: float) -> VecEnv:
    vectors = len(env.observation_space.shape or ()) == 1
    if not (observations and vectors) and not rewards:
        return env
    return VecNormalize(env, norm_obs=observations and vectors, norm_reward=rewards, gamma=gamma)


def _noise(env: VecEnv, deviation: float) -> NormalActionNoise:
    actions = env.action_space.shape or ()
    return NormalActionNoise(np.zeros(actions), np.full(actions, deviation))


def _policy_arguments(cfg: DictConfig) -> dict[str, Any]:
    algo = cfg.algo.name
    adam = {"fused": True, **({"eps": PPO_ADAM_EPS} if algo == "ppo" else {})}
    shared = {"net_arch": _architecture(cfg), "optimizer_kwargs": adam}
    if cfg.conv.name != "none":
        shared["conv"] = {key: list(cfg.conv[key]) for key in ("channels", "kernels", "strides")}
    if not spiking_parts(cfg):
        return shared
    groups = {g: OmegaConf.to_container(cfg[g]) for g in ("neuron", "surrogate", "encoder")}
    arguments = {
        **shared,
        **groups,
        "bn": _strategy(cfg.bn),
        "kernel": kernel_for(cfg),
    }
    if cfg.actor.name == "spiking":
        arguments |= {key: cfg.actor[key] for key in ("time_steps", "population", "readout")}
    if algo != "dqn":
        arguments |= {"actor": cfg.actor.name, "critic": _critic(cfg.critic)}
    return arguments


def _architecture(cfg: DictConfig) -> list[int] | dict[str, list[int]]:
    actor = list(cfg.actor.hidden)
    if cfg.algo.name == "dqn":
        return actor
    return {"pi": actor, ("vf" if cfg.algo.name == "ppo" else "qf"): list(cfg.critic.hidden)}


def _critic(critic: DictConfig) -> str | dict[str, Any]:
    if critic.name != "spiking":
        return "ann"
    return {"name": "spiking", "bn": _strategy(critic.bn), "time_steps": critic.time_steps}


def _strategy(bn: DictConfig) -> dict[str, Any]:
    """As :func:`snnrl.nn.norm.make_strategy` takes it: ``auto`` is its own schedule."""
    values = OmegaConf.to_container(bn)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if value != "auto"}
