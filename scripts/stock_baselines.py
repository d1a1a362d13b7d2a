#!/usr/bin/env python3
"""Train Stable-Baselines3's own agent with the settings of an ordinary agent of snnrl.

    python scripts/stock_baselines.py algo=td3 actor=ann env=pendulum seed=0 ...

The settings are those of ``python -m snnrl.train`` for a single run with ``actor=ann``. Evaluation
is the same, too, so ``python -m snnrl.compare`` can show both (here ``actor.name`` is ``stock``). A
setting without a counterpart in Stable-Baselines3 must have the value that matches it.

Two differences remain. DDPG's critic takes the action at its second layer in snnrl, and at its
first in Stable-Baselines3. DQN's exploration rate starts to fall at the first update in snnrl, and
at step 0 in Stable-Baselines3; both reach the final rate at the same step. Both agents learn with
torch's fused Adam, snnrl's default, which rounds differently from Stable-Baselines3's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv

from snnrl.errors import UserError, exit_status
from snnrl.experiment.builder import build_evaluator, build_training_env
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_overrides
from snnrl.experiment.config.validate import validate
from snnrl.experiment.evaluation import Evaluator
from snnrl.experiment.reproduction.provenance import collect
from snnrl.experiment.threads import use_threads
from snnrl.run_format.config import write_config
from snnrl.run_format.done import write_done
from snnrl.run_format.evaluations import COLUMNS
from snnrl.run_format.names import EVALUATIONS, seed_folder
from snnrl.run_format.provenance import write_provenance
from snnrl.run_format.status import is_done
from snnrl.run_format.table import Table

REPLAY = {"normalize_observations": False, "clip_observations": 3.0}

STOCK: dict[str, dict[str, Any]] = {
    "td3": REPLAY,
    "sac": REPLAY,
    "ddpg": {**REPLAY, "critic_weight_decay": 0},
    "dqn": {**REPLAY, "loss": "huber", "max_grad_norm": 10, "replacement": True},
    "ppo": {"normalize_observations": False, "normalize_rewards": False},
}
"""Settings by algorithm, with the only values that match Stable-Baselines3."""


class Evaluation(BaseCallback):
    """Callback that evaluates before rollouts and at the end, as a run of snnrl does."""

    def __init__(self, evaluator: Evaluator, table: Table, every: int):
        super().__init__()
        self.evaluator = evaluator
        self.table = table
        self.every = every
        self.last = -1

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every > self.last // self.every:
            self._evaluate()

    def _on_training_end(self) -> None:
        if self.last < self.num_timesteps:
            self._evaluate()

    def _on_step(self) -> bool:
        return True

    def _evaluate(self) -> None:
        self.last = self.num_timesteps
        episodes = self.evaluator.run(self.model)
        values = [episode.total_reward for episode in episodes]
        print(f"{self.last:>9,} steps: return {np.mean(values):.1f}", flush=True)
        self.table.append(
            {
                "timesteps": self.last,
                "episode": episode.index,
                "seed": episode.seed,
                "return": repr(episode.total_reward),
                "length": episode.length,
            }
            for episode in episodes
        )


def main(overrides: list[str]) -> int:
    """Check the command line, train, and return the exit status: 0, or 2 for a user error."""
    return exit_status(lambda: _check_and_train(overrides))


def _check_and_train(overrides: list[str]) -> None:
    cfg = compose_config(check_overrides(overrides))
    validate(cfg)
    check(cfg)
    train(cfg, overrides)


OURS = {"joint_pass": False, "target_networks": True, "common_mode": False}
"""Settings that Stable-Baselines3 lacks, with the values that match it."""


def check(cfg: DictConfig) -> None:
    """Refuse settings with which the two agents would differ.

    :raises UserError: Stable-Baselines3 lacks a setting, or does not match its value
    """
    if cfg.actor.name != "ann":
        raise UserError(f"actor={cfg.actor.name}: expected actor=ann")
    if cfg.critic.name == "spiking":
        raise UserError("critic=spiking: expected an ordinary critic")
    if cfg.target.name != "soft":
        raise UserError(f"target={cfg.target.name}: SB3 has no such target; expected target=soft")
    for key, value in OURS.items():
        if cfg.algo.get(key, value) != value:
            raise UserError(
                f"algo.{key}={cfg.algo[key]}: SB3 has no such setting; expected {value}"
            )
    if cfg.conv.name != "none":
        raise UserError(f"conv={cfg.conv.name}: SB3 has other convolutions; expected conv=none")
    if cfg.env.n_envs > 1:
        raise UserError(f"env.n_envs={cfg.env.n_envs}: expected 1")
    if cfg.algo.get("gradient_steps", 1) < 1:
        raise UserError(f"algo.gradient_steps={cfg.algo.gradient_steps}: expected at least 1")
    for key, value in STOCK.get(cfg.algo.name, {}).items():
        if cfg.algo[key] != value:
            raise UserError(f"algo.{key}={cfg.algo[key]}: expected {value}, as in SB3")
    rate = cfg.algo.get("critic_learning_rate")
    if rate is not None and rate != cfg.algo.learning_rate:
        raise UserError(
            f"algo.critic_learning_rate={rate}: SB3 has a single "
            f"learning rate; expected algo.learning_rate={cfg.algo.learning_rate}"
        )


def train(cfg: DictConfig, overrides: list[str]) -> None:
    """Train into a folder that ``snnrl.compare`` reads, unless the run there is already done."""
    env_name = cfg.env.id.replace("/", "-")
    folder = Path(cfg.results_dir) / env_name / f"{cfg.algo.name}-stock" / seed_folder(cfg.seed)
    if is_done(folder):
        print(f"already done: {folder}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVALUATIONS).unlink(missing_ok=True)
    threads = use_threads(cfg, "naive")
    settings = OmegaConf.to_container(cfg, resolve=True)
    settings["actor"]["name"] = "stock"  # type: ignore[index,call-overload]
    write_config(folder, OmegaConf.to_yaml(OmegaConf.create(settings)))
    facts = {**collect("naive", threads, cfg.seed), "overrides": overrides}
    write_provenance(folder, [facts])
    agent = build(cfg, build_training_env(cfg))
    # The evaluator calls this method, with which agents of snnrl normalise observations.
    agent.normalize = lambda observations: observations  # type: ignore[attr-defined]
    evaluator = build_evaluator(cfg)
    table = Table(folder / EVALUATIONS, COLUMNS)
    agent.learn(cfg.total_steps, callback=Evaluation(evaluator, table, cfg.evaluation.every))
    write_done(folder, agent.num_timesteps, facts["kernel"])


def build(cfg: DictConfig, env: VecEnv) -> BaseAlgorithm:
    """Return Stable-Baselines3's agent with these settings."""
    algo: dict[str, Any] = OmegaConf.to_container(cfg.algo)  # type: ignore[assignment]
    name = algo.pop("name")
    for key in STOCK.get(name, {}):
        if key != "max_grad_norm":
            algo.pop(key)
    hidden = list(cfg.actor.hidden)
    arch: Any = hidden
    if name != "dqn":
        arch = {"pi": hidden, ("vf" if name == "ppo" else "qf"): list(cfg.critic.hidden)}
    if name in ("td3", "ddpg"):
        zeros = np.zeros(env.action_space.shape)
        algo["action_noise"] = NormalActionNoise(zeros, zeros + algo.pop("exploration_noise"))
    for key in (*OURS, "critic_learning_rate"):
        algo.pop(key, None)
    if name == "sac":
        algo["ent_coef"] = "auto" if algo["ent_coef"] is None else algo["ent_coef"]
    if name == "dqn":
        # Stable-Baselines3 counts environment steps, snnrl counts updates.
        steps = cfg.algo.train_freq / cfg.algo.gradient_steps
        algo["target_update_interval"] = round(algo.pop("target_update_updates") * steps)
        explored = algo.pop("exploration_updates") * steps + cfg.algo.learning_starts
        algo["exploration_fraction"] = min(1.0, explored / cfg.total_steps)
    adam = {"fused": True, **({"eps": 1e-5} if name == "ppo" else {})}
    return getattr(stable_baselines3, name.upper())(
        "MlpPolicy",
        env,
        policy_kwargs={"net_arch": arch, "optimizer_kwargs": adam},
        seed=cfg.seed,
        device="cpu",
        **algo,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
