"""A PPO agent small enough to build and train in a moment."""

from __future__ import annotations

from typing import Any

from snnrl.agents import PPO
from tests.envs import Follow

CONV = dict(channels=[4, 8], kernels=[3, 3], strides=[1, 2])
"""Of 8 x 8 images."""


def small_ppo(env: Any = None, policy: Any = "SpikingPolicy", **arguments: Any) -> PPO:
    """A spiking agent of a few neurons; ``policy_kwargs`` are added to the small network's."""
    given = arguments.pop("policy_kwargs", {})
    policy_kwargs = dict(net_arch=[16, 12])
    if policy == "SpikingPolicy":
        policy_kwargs |= dict(population=3, time_steps=3, kernel="naive")
    settings: dict[str, Any] = dict(seed=0, device="cpu", n_steps=32, batch_size=16, n_epochs=2)
    return PPO(
        policy,
        Follow() if env is None else env,
        policy_kwargs=policy_kwargs | given,
        **settings | arguments,
    )
