"""Folded policies of small agents, and observations for them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from snnrl.agents.base import SpikingAgent
from snnrl.deploy.folding import fold
from snnrl.deploy.runtime import Array, Policy
from snnrl.nn.norm import norm_layers
from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo

Key = tuple[tuple[str, Any], ...]


def agent_of(variant: str = "td3", **policy_kwargs: Any) -> SpikingAgent:
    """An agent that has learned a little, its statistics far from where they start."""
    make = small_ppo if variant == "ppo" else small
    arguments = {} if variant == "ppo" else {"variant": variant}
    agent: SpikingAgent = make(**arguments, policy_kwargs=dict(bn="carebn") | policy_kwargs)
    agent.learn(64)
    generator = torch.Generator().manual_seed(1)
    network = agent.acting_network()
    assert network is not None
    with torch.no_grad():
        for layer in norm_layers(network):
            if not hasattr(layer, "moving_mean"):
                continue
            layer.moving_mean.copy_(torch.randn(layer.moving_mean.shape, generator=generator) / 5)
            var = torch.rand(layer.moving_var.shape, generator=generator)
            layer.moving_var.copy_(var + 0.5)
    return agent


def observations(agent: SpikingAgent, count: int = 200, seed: int = 0) -> Array:
    shape = (count, *(agent.observation_space.shape or ()))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@cache
def policy_of(variant: str = "td3", kwargs: Key = ()) -> Policy:
    """A folded policy; keywords as pairs, so that one is made once."""
    return fold(agent_of(variant, **dict(kwargs)))


def spikes_of(policy: Policy, shown: Array) -> list[Array]:
    """Spikes of the encoder and of each layer, ``[T, B, N]``."""
    found = [policy.encode(policy.batch(shown)[0])]
    for layer in policy.layers:
        found.append(layer.fire(layer.currents(found[-1]))[0])
    return found
