"""Which pass uses which statistics, for every normalisation with every algorithm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn

from snnrl.nn.norm import BatchNorm, norm_layers
from snnrl.nn.registry import names
from tests.nn.networks import tiny

from .helpers import VARIANTS, buffers, changed, small
from .test_modes_critic import targets_of, update_actor

MOVING = [name for name in names("norm") if norm_layers(tiny(name))]


@contextmanager
def watched(policy: nn.Module) -> Iterator[dict[str, set[str]]]:
    """What each part's normalisations used, by the part's name: ``batch`` or ``moving``."""
    used: dict[str, set[str]] = {}
    handles = []
    for name, module in policy.named_modules():
        if isinstance(module, BatchNorm):

            def see(norm: BatchNorm, *_: Any, part: str = name.partition(".")[0]) -> None:
                used.setdefault(part, set()).add("batch" if norm.learns() else "moving")

            handles.append(module.register_forward_hook(see))
    try:
        yield used
    finally:
        for handle in handles:
            handle.remove()


def filled(variant: str, bn: str) -> Any:
    settings = dict(name=bn, recalibrate_every=None)
    agent = small(variant, policy_kwargs=dict(bn=settings), learning_starts=1_000).learn(30)
    agent.policy.set_training_mode(True)
    return agent


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize("bn", MOVING)
@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "dqn"])
def test_actor_and_critic(variant: str, bn: str) -> None:
    agent = filled(variant, bn)
    spiking = variant.endswith("spiking")
    batch = agent.replay_buffer.sample(16)
    actor, critic = buffers(agent.actor), buffers(agent.critic)
    with watched(agent.policy) as used:
        agent.predict(batch.observations.numpy())
        assert used == {"actor": {"moving"}}
        agent.policy.set_training_mode(True)
        used.clear()
        targets = targets_of(agent, batch)
        assert "batch" not in set().union(*used.values())
        assert not changed(actor, agent.actor)
        used.clear()
        agent._update_critic(batch, targets)
        assert used == ({"critic": {"batch"}} if spiking else {})
        assert not changed(actor, agent.actor)
        assert bool(changed(critic, agent.critic)) is spiking
        critic = buffers(agent.critic)
        used.clear()
        update_actor(agent, batch)
        assert used == {"actor": {"batch"}, **({"critic": {"moving"}} if spiking else {})}
        assert changed(actor, agent.actor)
        assert not changed(critic, agent.critic)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("bn", MOVING)
def test_q_network(bn: str) -> None:
    agent = filled("dqn", bn)
    batch = agent.replay_buffer.sample(16)
    before = buffers(agent.policy)
    with watched(agent.policy) as used:
        agent.predict(batch.observations.numpy(), deterministic=True)
        assert used == {"q_net": {"moving"}}
        agent.policy.set_training_mode(True)
        used.clear()
        targets = agent._target_values(batch)
        assert "batch" not in set().union(*used.values())
        assert not changed(before, agent.policy)
        used.clear()
        agent._update(batch, targets)
        assert used == {"q_net": {"batch"}}
        assert all(name.startswith("q_net.") for name in changed(before, agent.policy))
        assert changed(before, agent.policy)
