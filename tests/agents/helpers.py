"""Agents small enough to build and train in a moment."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor, nn

from snnrl.agents import DDPG, TD3
from tests.envs import Follow

ALGORITHMS = {"td3": TD3, "ddpg": DDPG}


def small(algo: str = "td3", env: Any = None, **arguments: Any) -> TD3:
    """A spiking agent of a few neurons; ``policy_kwargs`` are added to the small network's."""
    given = arguments.pop("policy_kwargs", {})
    policy_kwargs = dict(net_arch=[16, 12], population=3, time_steps=3, kernel="naive") | given
    settings: dict[str, Any] = dict(
        seed=0, device="cpu", buffer_size=1_000, batch_size=16, learning_starts=16
    )
    return ALGORITHMS[algo](
        arguments.pop("policy", "SpikingPolicy"),
        Follow() if env is None else env,
        policy_kwargs=policy_kwargs,
        **settings | arguments,
    )


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
