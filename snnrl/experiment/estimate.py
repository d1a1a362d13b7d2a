"""How long a run will take on this machine."""

from __future__ import annotations

import math
import time
from typing import Any

from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.vec_env import VecEnv

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.choices import normalisations, rollout_size

TRIAL_UPDATES = 20

TRIAL_MINIBATCHES = 4
"""Minibatches of a trial's rollout, unless the environments have whole ones in more only."""


def seconds_for(cfg: DictConfig, steps: int) -> float:
    """Time a few environment steps with updates on an agent of its own, and extrapolate.

    The trial's agent is thrown away: call this before the real one is made (it seeds the global
    generators anew). Evaluations are counted, compilation is not.

    :param steps: environment steps that are still to do
    """
    env = build_training_env(cfg)
    try:
        agent, warm_up, trial = _trial(cfg, env)
        # Compiles and warms up; exploration may have left the acting pass out.
        agent.learn(warm_up, log_interval=None)  # type: ignore[arg-type]
        observation: Any = agent._last_obs
        agent.predict(observation, deterministic=True)
        start, before = time.perf_counter(), agent.num_timesteps
        agent.learn(trial, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        step = (time.perf_counter() - start) / (agent.num_timesteps - before)
        start = time.perf_counter()
        for _ in range(TRIAL_UPDATES):
            agent.predict(observation, deterministic=True)
        act = (time.perf_counter() - start) / TRIAL_UPDATES
    finally:
        env.close()
    evaluations = steps / cfg.evaluation.every
    # The environments of an evaluation share one pass of the network, which costs about two
    # single ones; how long episodes will be is not known, 1,000 steps is MuJoCo's limit.
    return float(steps * step + evaluations * 1000 * 2 * act)


def _trial(cfg: DictConfig, env: VecEnv) -> tuple[SpikingAgent, int, int]:
    """An agent, and the environment steps to warm it up with and to time."""
    if cfg.algo.name == "ppo":
        # A whole iteration, which costs the same for each of its steps when it is shorter.
        smallest = math.lcm(cfg.algo.batch_size, cfg.env.n_envs)
        rollout = smallest * max(1, TRIAL_MINIBATCHES * cfg.algo.batch_size // smallest)
        n_steps = min(cfg.algo.n_steps, rollout // cfg.env.n_envs)
        size = n_steps * cfg.env.n_envs
        return build_agent(cfg, env, n_steps=n_steps), size, size
    trial = rollout_size(cfg) * TRIAL_UPDATES
    # Minibatches without replacement are whole only when there are enough transitions.
    fill = cfg.algo.batch_size * cfg.env.n_envs if cfg.algo.name == "dqn" else 0
    rarely = OmegaConf.merge(cfg)
    assert isinstance(rarely, DictConfig)
    for key in normalisations(cfg):
        OmegaConf.update(rarely, f"{key}.recalibrate_every", None)
    changes = {"buffer_size": 8 * (trial + fill), "learning_starts": fill}
    return build_agent(rarely, env, **changes), fill + trial, trial


def in_words(seconds: float) -> str:
    """``95 s``, ``12 min``, ``7.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
