"""How long a run will take on this machine."""

from __future__ import annotations

import time
from typing import Any

from omegaconf import DictConfig, OmegaConf

from snnrl.experiment.builder import build_agent, build_training_env

TRIAL_UPDATES = 20


def seconds_for(cfg: DictConfig, steps: int) -> float:
    """Time a few environment steps with updates on an agent of its own, and extrapolate.

    The trial's agent is thrown away: call this before the real one is made (it seeds the global
    generators anew). Evaluations are counted, compilation is not.

    :param steps: environment steps that are still to do
    """
    env = build_training_env(cfg)
    trial = cfg.algo.train_freq * TRIAL_UPDATES
    rarely = OmegaConf.merge(cfg, {"bn": {"recalibrate_every": None}})
    assert isinstance(rarely, DictConfig)
    agent = build_agent(rarely, env, buffer_size=8 * trial, learning_starts=0)
    try:
        # Compiles and warms up.
        agent.learn(trial, log_interval=None)  # type: ignore[arg-type]
        start = time.perf_counter()
        agent.learn(trial, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        step = (time.perf_counter() - start) / trial
        observation: Any = env.reset()
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


def in_words(seconds: float) -> str:
    """``95 s``, ``12 min``, ``7.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
