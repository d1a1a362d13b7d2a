"""Agents that act with early exit."""

import numpy as np
import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.early_exit import leaving_after

from .helpers import small
from .ppo_helpers import small_ppo

BNTT = dict(bn="bntt", time_steps=4, kernel="native")


def made(variant, **policy_kwargs):
    if variant == "ppo":
        return small_ppo(policy_kwargs=BNTT | policy_kwargs)
    return small(variant, policy_kwargs=BNTT | policy_kwargs)


@torch.no_grad()
def fade(network, steps):
    """Let gamma be large in the first steps and small in the others."""
    for layer in network.stack():
        layer.norm.gamma.fill_(1.0)
        layer.norm.gamma[steps:] = 0.01


@pytest.mark.parametrize("variant", ["td3", "sac", "dqn", "ppo"])
def test_the_network_that_acts_leaves_early(variant):
    agent = made(variant).learn(32)
    network = agent.acting_network()
    fade(network, 3)
    size = agent.observation_space.shape[0]
    observations = np.random.default_rng(0).uniform(-1, 1, (50, size)).astype(np.float32)
    usual, _ = agent.predict(observations, deterministic=True)
    with agent.early_exit() as steps:
        assert steps == 3
        early, _ = agent.predict(observations, deterministic=True)
        assert {trace.spikes.shape[0] for trace in acting_traces(agent, observations)} == {3}
    with leaving_after(network, 3):
        by_hand, _ = agent.predict(observations, deterministic=True)
    assert np.array_equal(early, by_hand)
    with agent.early_exit(limit=3.0) as steps:
        assert steps == 1
    again, _ = agent.predict(observations, deterministic=True)
    assert np.array_equal(again, usual)
    assert {trace.spikes.shape[0] for trace in acting_traces(agent, observations)} == {4}


def acting_traces(agent, observations):
    recording = agent.record(observations)
    return recording["q_network" if "q_network" in recording else "actor"].values()


@pytest.mark.parametrize("variant", ["td3", "dqn", "ppo"])
def test_learning_is_refused_inside(variant):
    agent = made(variant)
    with agent.early_exit(), pytest.raises(UserError, match=r"^early exit: is for acting"):
        agent.learn(64)


@pytest.mark.parametrize(
    "policy_kwargs",
    [dict(bn="carebn"), dict(bn="none"), dict(actor="ann", bn="none", critic="spiking")],
)
def test_only_agents_trained_with_bntt(policy_kwargs):
    agent = made("td3", **policy_kwargs)
    with pytest.raises(UserError, match=r"^early exit: .*bn=bntt$"), agent.early_exit():
        pass
