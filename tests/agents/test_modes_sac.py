"""SAC: statistics move in the actor's own loss, and the next action neither uses nor moves them."""

import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from snnrl.nn.norm import norm_layers
from tests.envs import Follow

from .helpers import buffers, changed, small

NO_RECALIBRATION = dict(name="carebn", recalibrate_every=None)
TEMPERATURE = torch.tensor([0.3])


@pytest.fixture
def agent():
    """With a filled buffer, statistics that have moved, and the actor in train mode."""
    agent = small("sac", policy_kwargs=dict(bn=NO_RECALIBRATION)).learn(30)
    agent.train(3, 16)
    assert agent.actor.training
    return agent


def by_hand(network, observations):
    """``network`` with its moving statistics, layer by layer."""
    x = network.encoder(observations)
    for layer in network.layers:
        norm = layer.norm
        current = layer.linear(x)
        current = (current - norm.moving_mean) / (norm.moving_var + norm.eps).sqrt()
        x = layer.neuron(current * norm.gamma + norm.beta)[0]
    return network.decoder(x)


def test_the_next_action_uses_the_moving_statistics_by_hand(agent):
    batch = agent.replay_buffer.sample(16)
    torch.manual_seed(7)
    targets = agent._target_values(batch, TEMPERATURE)
    torch.manual_seed(7)
    with torch.no_grad():
        mean, log_std = by_hand(agent.actor.network, batch.next_observations).chunk(2, dim=1)
        normal = torch.distributions.Normal(mean, log_std.exp())
        gaussian = normal.rsample()
        actions = torch.tanh(gaussian)
        # Squashing: log p(a) = log p(u) - sum log(1 - tanh(u)^2).
        log_prob = (normal.log_prob(gaussian) - torch.log(1 - actions**2 + 1e-6)).sum(1)
        values = torch.cat(agent.critic_target(batch.next_observations, actions), dim=1)
        soft = values.amin(1) - 0.3 * log_prob
    expected = batch.rewards + agent.gamma * (1 - batch.dones) * soft.reshape(-1, 1)
    torch.testing.assert_close(targets, expected, rtol=1e-4, atol=1e-4)
    # In the actor's own loss the same observations are normalised by their own statistics.
    values = agent.actor.network(batch.next_observations)
    assert not torch.allclose(values[:, :2], mean)


def test_the_targets_pass_and_the_critics_update_move_nothing(agent):
    before = buffers(agent.actor)
    batch = agent.replay_buffer.sample(16)
    agent._update_critic(batch, agent._target_values(batch, TEMPERATURE))
    assert not changed(before, agent.actor)
    assert all(layer.training for layer in norm_layers(agent.actor))


def test_once_in_each_actor_update(agent):
    updates = []
    for layer in norm_layers(agent.actor):
        layer.update.register_forward_hook(lambda rule, *_: updates.append(rule))
    agent.train(5, 16)
    assert len(updates) == 5 * len(norm_layers(agent.actor))
    assert {updates.count(rule) for rule in updates} == {5}


def test_the_own_loss_moves_them_by_the_statistics_of_its_minibatch():
    agent = small("sac", policy_kwargs=dict(bn="vanilla"), learning_starts=1_000).learn(30)
    agent.policy.set_training_mode(True)
    layer = agent.actor.network.layers[0]
    batch = agent.replay_buffer.sample(16)
    with torch.no_grad():
        x = layer.linear(agent.actor.network.encoder(batch.observations)).flatten(0, 1)
    agent.actor.action_log_prob(batch.observations)
    torch.testing.assert_close(layer.norm.moving_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(layer.norm.moving_var, 0.9 + 0.1 * x.var(0, correction=0))


def test_not_while_acting_predicting_or_evaluating(agent):
    before = buffers(agent.actor)
    agent.learning_starts, agent.gradient_steps = 0, 0
    agent.learn(10)
    agent.policy.set_training_mode(True)
    agent.predict(Follow().reset(seed=0)[0])
    agent.policy.set_training_mode(True)
    evaluate_policy(agent, Follow(), n_eval_episodes=1, warn=False)
    assert not changed(before, agent.actor)


def test_a_plain_pass_draws_nothing(agent):
    """Re-calibration and measuring call the actor so."""
    state = torch.get_rng_state()
    agent.actor(torch.zeros(4, 2))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_action_is_sampled_and_its_mean_is_not(agent):
    observation = Follow().reset(seed=0)[0]
    sampled = {agent.predict(observation)[0].tobytes() for _ in range(3)}
    means = {agent.predict(observation, deterministic=True)[0].tobytes() for _ in range(3)}
    assert (len(sampled), len(means)) == (3, 1)
