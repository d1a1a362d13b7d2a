"""The critic in the actor's loss: a function that nothing learns."""

import pytest
import torch

from snnrl.agents.updates.frozen import Frozen
from snnrl.nn.norm import norm_layers
from tests.agents.helpers import buffers, changed, small

VARIANTS = ["td3", "ddpg", "sac", "td3-spiking", "ddpg-spiking", "sac-spiking"]


def value_of(critic, observations, actions):
    return torch.cat(critic(observations, actions), dim=1).sum()


@pytest.mark.parametrize("variant", VARIANTS)
def test_actions_get_the_gradient_and_weights_none(variant):
    agent = small(variant, policy_kwargs=dict(bn="vanilla"))
    agent.policy.set_training_mode(True)
    inputs = torch.rand(8, 2), torch.rand(8, 2)
    value_of(agent.critic, *inputs)
    for layer in norm_layers(agent.critic):
        layer.training = False
    actions = inputs[1].clone().requires_grad_()
    value_of(agent.critic, inputs[0], actions).backward()
    expected = actions.grad
    agent.critic.zero_grad()
    agent.policy.set_training_mode(True)

    before, actions = buffers(agent.critic), inputs[1].clone().requires_grad_()
    with Frozen(agent.critic):
        value = value_of(agent.critic, inputs[0], actions)
    value.backward()
    assert torch.equal(actions.grad, expected)
    assert expected.abs().max() > 0
    assert all(weight.grad is None for weight in agent.critic.parameters())
    assert not changed(before, agent.critic)
    assert all(weight.requires_grad for weight in agent.critic.parameters())
    assert all(layer.training for layer in norm_layers(agent.critic))


def test_what_was_apart_stays_so_after_an_error_too():
    critic = small("td3-spiking").critic
    critic.networks[0].train()
    critic.networks[1].eval()
    frozen = next(critic.parameters()).requires_grad_(False)
    fixed = Frozen(critic)

    def explode():
        with fixed:
            raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            explode()
        assert all(layer.training for layer in norm_layers(critic.networks[0]))
        assert not any(layer.training for layer in norm_layers(critic.networks[1]))
        assert [w for w in critic.parameters() if not w.requires_grad] == [frozen]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_update_of_the_actor_leaves_the_critic_without_gradients(variant):
    agent = small(variant, learning_starts=1_000)
    agent.policy_delay = 1
    agent.learn(30)
    weights = list(agent.critic.parameters())
    seen, step = [], agent.actor.optimizer.step

    def watched(*args):
        seen.append([w.grad.clone() for w in weights])
        return step(*args)

    after_critic, critic_step = [], agent.critic.optimizer.step

    def watched_critic(*args):
        after_critic.append([w.grad.clone() for w in weights])
        return critic_step(*args)

    agent.actor.optimizer.step, agent.critic.optimizer.step = watched, watched_critic
    agent.train(3, 16)
    assert len(seen) == len(after_critic) == 3
    for ours, theirs in zip(seen, after_critic, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_weight_that_the_user_froze_stays_frozen():
    network = torch.nn.Linear(2, 1)
    frozen = Frozen(network)
    network.weight.requires_grad_(False)
    with frozen:
        assert not network.bias.requires_grad
    assert not network.weight.requires_grad
    assert network.bias.requires_grad
