"""Agents small enough to build and train in a moment."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from snnrl.agents import DDPG, DQN, SAC, TD3
from tests.envs import Follow, Match

ALGORITHMS = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "dqn": DQN}

VARIANTS = ["td3", "ddpg", "sac", "dqn", "td3-spiking", "ddpg-spiking", "sac-spiking"]
"""Algorithms with their ordinary and with spiking critics."""


def small(variant: str = "td3", env: Any = None, **arguments: Any) -> Any:
    """A spiking agent of a few neurons; ``policy_kwargs`` are added to the small network's.

    :param variant: of :data:`VARIANTS`; a spiking critic is normalised as the actor
    """
    algo, _, critic = variant.partition("-")
    given = arguments.pop("policy_kwargs", {})
    policy_kwargs = dict(net_arch=[16, 12], population=3, time_steps=3, kernel="naive") | given
    if critic:
        spec = dict(name=critic, bn=given.get("bn", "carebn"), time_steps=3)
        policy_kwargs.setdefault("critic", spec)
    settings: dict[str, Any] = dict(
        seed=0, device="cpu", buffer_size=1_000, batch_size=16, learning_starts=16
    )
    if algo == "dqn":
        settings |= dict(train_freq=1)
    if env is None:
        env = task(variant)
    return ALGORITHMS[algo](
        arguments.pop("policy", "SpikingPolicy"),
        env,
        policy_kwargs=policy_kwargs,
        **settings | arguments,
    )


def task(variant: str) -> Follow | Match:
    """A small environment that the algorithm can act in."""
    return Match() if variant == "dqn" else Follow()


def decisions(policy: Any) -> Tensor:
    """What a policy makes of 20 observations: deterministic actions, or DQN's values."""
    shape = (20, *policy.observation_space.shape)
    observations = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    policy.set_training_mode(False)
    network = getattr(policy, "q_net", None)
    with torch.no_grad():
        return network(observations) if network else policy._predict(observations, True)


def buffers(network: nn.Module) -> dict[str, Tensor]:
    """Copies of moving statistics and confidence state."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def changed(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    """Names of the buffers that differ from their copies."""
    return {name for name, b in network.named_buffers() if not torch.equal(before[name], b)}


def assert_equal_states(one: nn.Module, other: nn.Module) -> None:
    """Every parameter and buffer is the same, bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Watcher(BaseCallback):
    """Calls a function of the agent at each rollout's start, where evaluations are made."""

    def __init__(self, watch: Any):
        super().__init__()
        self.watch = watch

    def _on_rollout_start(self) -> None:
        self.watch(self.model)

    def _on_step(self) -> bool:
        return True
