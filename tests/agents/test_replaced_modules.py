"""What agents collect of their networks follows modules that are replaced by hand."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from snnrl.agents.off_policy import ReplayAgent
from snnrl.errors import UserError
from tests.agents.updates.tape import TapeRecorder

from .helpers import small


def filled(variant="td3-spiking", **arguments):
    arguments = dict(policy_kwargs=dict(bn="vanilla")) | arguments
    return small(variant, learning_starts=10_000, **arguments).learn(40)


def replace(agent):
    """A new critic layer, in the network that learns and in its target."""
    torch.manual_seed(5)
    for critic in (agent.critic, agent.critic_target):
        layers = critic.networks[0].layers
        layers[0] = deepcopy(layers[0])
        with torch.no_grad():
            layers[0].linear.weight.normal_()
    agent.critic_target.set_training_mode(False)
    agent.critic.optimizer = torch.optim.Adam(agent.critic.parameters(), lr=1e-2, fused=True)


@pytest.mark.parametrize("variant", ["td3-spiking", "sac-spiking"])
def test_a_replaced_layer_is_followed_switched_and_fixed(variant):
    agent = filled(variant)
    agent.train(2, 16)
    replace(agent)
    online, target = (c.networks[0].layers[0] for c in (agent.critic, agent.critic_target))
    before = target.linear.weight.clone()
    moved = []
    online.norm.update.register_forward_hook(lambda *_: moved.append(1))
    agent.train(2, 16)
    assert not torch.equal(target.linear.weight, before)
    # Once in each critic loss, and not in the actor's.
    assert len(moved) == 2
    agent.policy.set_training_mode(False)
    assert not any(module.training for module in online.modules())


def test_a_layer_that_was_put_in_switches_modes():
    agent = filled()
    agent.policy.set_training_mode(False)
    agent.actor.network.layers.append(nn.Dropout())
    agent.policy.set_training_mode(True)
    assert agent.actor.network.layers[-1].training
    agent.policy.set_training_mode(False)
    assert not agent.actor.network.layers[-1].training


@pytest.fixture
def tapes(monkeypatch):
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())


@pytest.mark.quick_cases(2)
@pytest.mark.usefixtures("tapes")
@pytest.mark.parametrize("name", ["actor", "critic", "critic_target", "actor.network.layers.0"])
def test_captured_steps_refuse_hooks(name):
    agent = filled()
    agent.train(8, 16)
    handle = agent.policy.get_submodule(name).register_forward_hook(lambda *_: None)
    with pytest.raises(UserError, match=rf"^captured gradient steps: {name} has a forward hook"):
        agent.train(1, 16)
    handle.remove()
    agent.train(1, 16)
    agent.policy.get_submodule(name).register_forward_hook(lambda *_: None)
    agent.captured = None
    agent.train(1, 16)


@pytest.mark.usefixtures("tapes")
def test_captured_steps_are_captured_anew_where_a_module_was_replaced():
    agents = [filled(), filled()]
    agents[1].captured = None
    for agent in agents:
        agent.set_random_seed(2)
        agent.train(8, 16)
        replace(agent)
        agent.set_random_seed(3)
        agent.train(10, 16)
    one, other = (agent.policy.state_dict() for agent in agents)
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.usefixtures("tapes")
def test_captured_decisions_refuse_hooks_and_follow_replaced_modules():
    agent = filled()
    observation = agent.env.reset()
    for _ in range(6):
        before, _ = agent.predict(observation, deterministic=True)
    handle = agent.actor.network.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UserError, match=r"layers\.0 has a forward hook"):
        agent.predict(observation, deterministic=True)
    handle.remove()
    agent.actor.network.layers[0] = deepcopy(agent.actor.network.layers[0])
    with torch.no_grad():
        agent.actor.network.layers[0].linear.bias.add_(3.0)
    after, _ = agent.predict(observation, deterministic=True)
    assert abs(after - before).max() > 1e-6
    agent.captured = None
    expected, _ = agent.predict(observation, deterministic=True)
    assert (after == expected).all()
