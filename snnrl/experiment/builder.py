"""From a checked configuration to an agent and its environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from snnrl.agents import DDPG, TD3
from snnrl.envs import make_env
from snnrl.errors import UserError, expect
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.validate import resolve_device
from snnrl.ops.backend import resolve_kernel

AGENTS: dict[str, type[TD3]] = {"td3": TD3, "ddpg": DDPG}

EVALUATION_SEED_OFFSET = 100
"""Evaluation episodes start from seed + 100, as in the published protocol."""


def build_training_env(cfg: DictConfig) -> VecEnv:
    """The environment that is learned from."""
    return DummyVecEnv([lambda: Monitor(make_env(cfg.env.id))])


def build_evaluator(cfg: DictConfig) -> Evaluator:
    """As many environments as evaluation episodes, with seeds of their own."""
    envs = [make_env(cfg.env.id) for _ in range(cfg.evaluation.episodes)]
    return Evaluator(envs, cfg.seed + EVALUATION_SEED_OFFSET)


def build_agent(cfg: DictConfig, env: VecEnv, **changes: Any) -> TD3:
    """A new agent.

    :param changes: arguments of the algorithm to use in place of the configuration's
    """
    algo = OmegaConf.to_container(cfg.algo)
    assert isinstance(algo, dict)
    arguments: dict[str, Any] = {str(key): value for key, value in algo.items()}
    name = arguments.pop("name")
    deviation = arguments.pop("exploration_noise")
    actions = env.action_space.shape or ()
    noise = NormalActionNoise(np.zeros(actions), np.full(actions, deviation))
    return AGENTS[name](
        "SpikingPolicy" if cfg.actor.name == "spiking" else "AnnPolicy",
        env,
        action_noise=noise,
        policy_kwargs=_policy_arguments(cfg),
        seed=cfg.seed,
        device=resolve_device(cfg.device),
        **{**arguments, **changes},
    )


def load_agent(cfg: DictConfig, path: str, env: VecEnv | None = None) -> TD3:
    """The agent that was saved at ``path``.

    :param env: environment to go on learning in, left as it is (not reset)
    """
    return AGENTS[cfg.algo.name].load(
        path, env=env, device=resolve_device(cfg.device), force_reset=False
    )


def load_trained(cfg: DictConfig, path: Path) -> TD3:
    """The agent of ``model.zip``, to act with on any machine: on its CPU.

    :raises UserError: the file is not one that a run wrote
    """
    expect("algo", cfg.algo.name, AGENTS)
    try:
        return AGENTS[cfg.algo.name].load(path, device="cpu", custom_objects={"buffer_size": 1})
    except (ValueError, BadZipFile) as problem:
        raise UserError(f"{path}: expected a model that a run has saved") from problem


def use_threads(threads: int) -> None:
    """Let torch use so many CPU threads, whatever the machine has."""
    torch.set_num_threads(threads)


def _policy_arguments(cfg: DictConfig) -> dict[str, Any]:
    arch = {"pi": list(cfg.actor.hidden), "qf": list(cfg.critic.hidden)}
    shared = {"net_arch": arch, "optimizer_kwargs": {"fused": True}}
    if cfg.actor.name == "ann":
        return shared
    groups = {g: OmegaConf.to_container(cfg[g]) for g in ("neuron", "surrogate", "encoder", "bn")}
    return {
        **shared,
        **groups,
        "time_steps": cfg.actor.time_steps,
        "population": cfg.actor.population,
        "kernel": resolve_kernel(cfg.kernel.name, cfg.total_steps),
    }
