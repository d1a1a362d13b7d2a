"""Estimate of a run's duration on this machine."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from snnrl.agents.base import SpikingAgent
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.config.check_data import data_of
from snnrl.experiment.config.choices import (
    classifies,
    normalisations,
    on_policy,
    rollout_size,
)

TRIAL_UPDATES = 20

TRIAL_MINIBATCHES = 4
"""Minibatches of a trial's rollout, unless the environments need more for whole ones."""

TRIAL_TRANSITIONS = 2048
"""Most transitions of a trial's rollout."""

TRIAL_EPOCHS = 10
"""Most epochs of a trial's rollout."""

TRIAL_S = 5.0
"""Seconds after which a part of the trial stops, unless it has made no update."""


class _Trial(BaseCallback):
    """Time updates separately from the rest, and stop when enough time has passed.

    The cost of an update is proportional to its gradient steps or epochs, of which a trial makes
    few.
    """

    model: SpikingAgent

    def __init__(self) -> None:
        super().__init__()
        self.updating = 0.0
        self.updates = 0
        self.before = 0
        self.start = 0.0

    def _on_training_start(self) -> None:
        self.before, self.start = self.num_timesteps, time.perf_counter()
        agent: Any = self.model
        update = agent.train

        def timed(*arguments: Any, **named: Any) -> None:
            start = self._now()
            update(*arguments, **named)
            self.updating += self._now() - start
            self.updates += 1

        agent.train = timed

    def _on_step(self) -> bool:
        return self.updates == 0 or time.perf_counter() - self.start < TRIAL_S

    def _on_training_end(self) -> None:
        self.seconds = self._now() - self.start
        self.steps = self.model.num_timesteps - self.before
        del vars(self.model)["train"]

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return time.perf_counter()


def seconds_for(cfg: DictConfig, steps: int) -> float:
    """Time a few environment steps and updates of a separate agent, and extrapolate.

    The trial's agent is discarded. Call this before making the real agent, which seeds the global
    generators again. Evaluations are counted, compilation is not; random steps make no updates. It
    takes a few seconds, or the time of two updates of one gradient step if that is longer.

    :param steps: environment steps of the run, from the first
    """
    env = build_training_env(cfg)
    try:
        most = _steps_in_time(env) if on_policy(cfg) else TRIAL_TRANSITIONS
        agent, length, updates_a_step = _trial(cfg, env, most)
        # Compiles and warms up; exploration may not have run the acting pass.
        trial = _timed(agent, length)
        observation: Any = agent._last_obs
        agent.predict(observation, deterministic=True)
        if trial.seconds < TRIAL_S:
            trial = _timed(agent, length)
        start, passes = time.perf_counter(), 0
        while passes < TRIAL_UPDATES and time.perf_counter() - start < TRIAL_S:
            agent.predict(observation, deterministic=True)
            passes += 1
        act = (time.perf_counter() - start) / passes
    finally:
        env.close()
    step = (trial.seconds - trial.updating) / trial.steps
    update = trial.updating / trial.updates * updates_a_step
    training = steps - min(cfg.algo.get("learning_starts", 0), steps)
    evaluations = steps / cfg.evaluation.every
    if classifies(cfg):
        tested = evaluations * len(data_of(cfg).test.labels) / env.num_envs
        return float(steps * step + training * update + tested * act)
    # The environments of an evaluation share one forward pass, which costs about two single ones.
    # The length of episodes is unknown; MuJoCo's limit is 1,000 steps.
    return float(steps * step + training * update + evaluations * 1000 * 2 * act)


def _steps_in_time(env: VecEnv) -> int:
    """Return the steps of all environments that fit in the time of the trial's rollout."""
    env.reset()
    start, steps = time.perf_counter(), 0
    while steps < TRIAL_UPDATES and time.perf_counter() - start < TRIAL_S:
        env.step(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
        steps += 1
    seconds = (time.perf_counter() - start) / steps
    return min(int(TRIAL_S / seconds) * env.num_envs, TRIAL_TRANSITIONS)


def _timed(agent: SpikingAgent, length: int) -> _Trial:
    trial = _Trial()
    agent.learn(
        length,
        callback=trial,
        log_interval=None,  # type: ignore[arg-type]
        reset_num_timesteps=False,
    )
    return trial


def _trial(
    cfg: DictConfig, env: VecEnv, most: int = TRIAL_TRANSITIONS
) -> tuple[SpikingAgent, int, float]:
    """Return an agent, the number of environment steps to time, and its updates per step of the
    run.

    :param most: most transitions of a rollout; larger minibatches are extrapolated from smaller
        ones
    """
    n_envs = cfg.env.n_envs
    if on_policy(cfg):
        # A whole iteration: a shorter one costs the same per step.
        batch_size, epochs = cfg.algo.batch_size, min(cfg.algo.n_epochs, TRIAL_EPOCHS)
        smallest = math.lcm(batch_size, n_envs)
        if smallest > most:
            smallest = batch_size = n_envs * max(2, most // n_envs)
        rollout = smallest * max(1, min(TRIAL_MINIBATCHES * batch_size, most) // smallest)
        n_steps = min(cfg.algo.n_steps, rollout // n_envs)
        size = n_steps * n_envs
        changes = {"n_steps": n_steps, "batch_size": batch_size, "n_epochs": epochs}
        return build_agent(cfg, env, **changes), size, cfg.algo.n_epochs / epochs / size
    if classifies(cfg):
        return build_agent(cfg, env), TRIAL_MINIBATCHES * env.num_envs, 1 / env.num_envs
    rarely = OmegaConf.merge(cfg)
    assert isinstance(rarely, DictConfig)
    for key in normalisations(cfg):
        OmegaConf.update(rarely, f"{key}.recalibrate_every", None)
    changes = {"train_freq": 1, "gradient_steps": 1, "learning_starts": 0}
    changes["buffer_size"] = 8 * TRIAL_UPDATES * n_envs
    if "replacement" in cfg.algo:
        # Without it minibatches are whole only if there are enough transitions.
        changes["replacement"] = True
    each = cfg.algo.gradient_steps
    updates_a_step = 1.0 if each == -1 else each / rollout_size(cfg)
    return build_agent(rarely, env, **changes), TRIAL_UPDATES * n_envs, updates_a_step


def in_words(seconds: float) -> str:
    """Return a duration as ``95 s``, ``12 min``, ``7.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
