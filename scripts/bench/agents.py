"""Agents of all algorithms with a full buffer, ours and Stable-Baselines3's."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from scripts.bench.options import Options
from scripts.bench.spaces import Noise
from snnrl.agents import DDPG, DQN, PPO, SAC, TD3

OURS = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "dqn": DQN, "ppo": PPO}


@dataclass(frozen=True)
class Sizes:
    """Sizes of networks and batches; the defaults are published.

    :param observations, actions: sizes of the continuous task (HalfCheetah)
    :param bytes, choices: size of an observation and number of actions of the discrete task (Atari
        RAM)
    :param hidden: hidden layers of spiking actors and of critics
    :param ddpg_critic, q_network, values: hidden layers of DDPG's critic, DQN, PPO's critic
    :param time_steps: T
    :param population: neurons per observation and per output
    :param batch, dqn_batch, ppo_batch: minibatch sizes
    :param rollout: steps of PPO's rollout
    :param stored: transitions in the buffer
    """

    observations: int = 17
    actions: int = 6
    bytes: int = 128
    choices: int = 6
    hidden: tuple[int, ...] = (256, 256)
    ddpg_critic: tuple[int, ...] = (400, 300)
    q_network: tuple[int, ...] = (128, 128)
    values: tuple[int, ...] = (64, 64)
    time_steps: int = 5
    population: int = 10
    batch: int = 256
    dqn_batch: int = 128
    ppo_batch: int = 64
    rollout: int = 256
    stored: int = 1_000


PUBLISHED = Sizes()
QUICK = Sizes(
    observations=3,
    actions=2,
    bytes=4,
    choices=3,
    hidden=(16, 12),
    ddpg_critic=(12, 8),
    q_network=(16, 12),
    values=(8, 8),
    time_steps=3,
    batch=32,
    dqn_batch=32,
    ppo_batch=16,
    rollout=32,
    stored=100,
)


def sizes(options: Options) -> Sizes:
    """Return the published sizes, or tiny ones with ``quick``."""
    return QUICK if options.quick else PUBLISHED


def batch_size(algo: str, of: Sizes) -> int:
    """Return the minibatch size of an algorithm."""
    return {"dqn": of.dqn_batch, "ppo": of.ppo_batch}.get(algo, of.batch)


def architecture(algo: str, of: Sizes) -> Any:
    """Return ``net_arch`` of an algorithm."""
    hidden = list(of.hidden)
    return {
        "td3": {"pi": hidden, "qf": hidden},
        "ddpg": {"pi": hidden, "qf": list(of.ddpg_critic)},
        "sac": {"pi": hidden, "qf": hidden},
        "dqn": list(of.q_network),
        "ppo": {"pi": hidden, "vf": list(of.values)},
    }[algo]


SETTINGS: dict[str, dict[str, Any]] = {
    # No noise on the target's action, so that backends with other generators compute the same. The
    # noise is still drawn, with a standard deviation of 0.
    "td3": dict(learning_rate=3e-4, tau=0.005, target_policy_noise=0.0),
    "ddpg": dict(learning_rate=1e-4, tau=0.001),
    "sac": dict(learning_rate=3e-4, tau=0.005),
    "dqn": dict(learning_rate=1e-4, max_grad_norm=None),
    "ppo": dict(learning_rate=3e-4, n_epochs=10),
}
OUR_SETTINGS: dict[str, dict[str, Any]] = {
    "ddpg": dict(critic_learning_rate=1e-3, critic_weight_decay=0.01),
    "dqn": dict(loss="mse", replacement=False),
}


GENTLE_EPS = 1.0
"""Adam's eps for comparing agents: with it a step is nearly proportional to the gradient. With the
usual eps a step is about the learning rate, so a rounding error around 0 becomes a full step."""


def spiking(
    algo: str,
    kernel: str,
    options: Options,
    env: gym.Env[Any, Any] | str | None = None,
    gentle: bool = False,
    **changes: Any,
) -> BaseAlgorithm:
    """Return our agent, untrained, with a full buffer and the policy that a run configures.

    :param gentle: whether to use the gate's settings: Adam as in :data:`GENTLE_EPS`, target
        networks that move visibly, one epoch of PPO
    """
    of = sizes(options)
    policy_kwargs = dict(
        net_arch=architecture(algo, of),
        optimizer_kwargs=dict(fused=True) | (dict(eps=GENTLE_EPS) if gentle else {}),
        time_steps=of.time_steps,
        bn="carebn",
        kernel=kernel,
    )
    if algo != "dqn":
        population = dict(name="population", population=of.population)
        policy_kwargs |= dict(encoder=population, population=of.population)
    arguments = SETTINGS[algo] | OUR_SETTINGS.get(algo, {})
    if gentle:
        arguments |= dict(learning_rate=1e-2)
        arguments |= dict(n_epochs=1) if algo == "ppo" else dict(tau=0.5)
    return _full(OURS[algo], "SpikingPolicy", algo, policy_kwargs, arguments, options, env, changes)


def ordinary(
    algo: str, options: Options, env: gym.Env[Any, Any] | str | None = None, **changes: Any
) -> BaseAlgorithm:
    """Return Stable-Baselines3's agent of the same hidden sizes, untrained, with a full buffer."""
    stock = getattr(stable_baselines3, algo.upper())
    policy_kwargs = dict(net_arch=architecture(algo, sizes(options)))
    arguments = dict(SETTINGS[algo])
    if algo == "dqn":
        arguments["max_grad_norm"] = float("inf")
    return _full(stock, "MlpPolicy", algo, policy_kwargs, arguments, options, env, changes)


def _full(
    algorithm: Any,
    policy: str,
    algo: str,
    policy_kwargs: dict[str, Any],
    arguments: dict[str, Any],
    options: Options,
    env: gym.Env[Any, Any] | str | None,
    changes: dict[str, Any],
) -> BaseAlgorithm:
    of = sizes(options)
    if env is None:
        discrete = algo == "dqn"
        shape = (of.bytes, of.choices) if discrete else (of.observations, of.actions)
        env = Noise(*shape, discrete=discrete)
    if algo == "ppo":
        arguments = arguments | dict(n_steps=of.rollout)
    else:
        arguments = arguments | dict(buffer_size=10 * of.stored, learning_starts=of.stored)
    if algo == "dqn":
        arguments = arguments | dict(train_freq=1)
    agent: BaseAlgorithm = algorithm(
        policy,
        env,
        policy_kwargs=policy_kwargs,
        seed=options.seed,
        device=options.device,
        batch_size=batch_size(algo, of),
        **arguments | changes,
    )
    fill(agent)
    return agent


def fill(agent: BaseAlgorithm) -> None:
    """Fill the replay buffer with random steps, or PPO's rollout buffer, without learning."""
    if isinstance(agent, OffPolicyAlgorithm):
        agent.learn(agent.learning_starts)
        return
    assert isinstance(agent, OnPolicyAlgorithm) and agent.env is not None
    _, callback = agent._setup_learn(agent.n_steps, None)
    assert isinstance(callback, BaseCallback)
    agent.collect_rollouts(agent.env, callback, agent.rollout_buffer, agent.n_steps)


def seed_everything(seed: int) -> None:
    """Seed the global generators of minibatches and noise.

    Python's draws DQN's minibatches without replacement.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class FixedMinibatches:
    """Substitute for a replay buffer that gives every agent the same minibatches, in order."""

    def __init__(self, batches: list[ReplayBufferSamples]):
        self.batches = list(batches)

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Return the next minibatch."""
        return self.batches.pop(0)

    def size(self) -> int:
        """Return the number of transitions left."""
        return sum(len(batch.observations) for batch in self.batches)


def minibatches(agent: OffPolicyAlgorithm, count: int, seed: int) -> list[ReplayBufferSamples]:
    """Return ``count`` minibatches of the agent's buffer."""
    seed_everything(seed)
    assert agent.replay_buffer is not None
    found = []
    for _ in range(count):
        batch = agent.replay_buffer.sample(agent.batch_size)
        # A buffer may return the same memory each time.
        copies = [part if part is None else part.clone() for part in batch]
        found.append(ReplayBufferSamples._make(copies))
    return found
