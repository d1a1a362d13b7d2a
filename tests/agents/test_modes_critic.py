"""Spiking critics: statistics move in the critics' own loss and nowhere else."""

import pytest
import torch

from snnrl.nn.norm import norm_layers

from .helpers import buffers, changed, small

NO_RECALIBRATION = dict(name="carebn", recalibrate_every=None)
ALGORITHMS = ["td3", "ddpg", "sac"]
CRITICS = {"td3": 2, "ddpg": 1, "sac": 2}
SAC_TEMPERATURE = torch.tensor([0.2])


def filled(algo, bn=NO_RECALIBRATION, **arguments):
    """An agent with a filled buffer and statistics of the critic that have moved, in train mode."""
    agent = small(
        f"{algo}-spiking", policy_kwargs=dict(bn=bn), learning_starts=1_000, **arguments
    ).learn(30)
    agent.policy.set_training_mode(True)
    batch = agent.replay_buffer.sample(16)
    agent._update_critic(batch, targets_of(agent, batch))
    return agent


def targets_of(agent, batch):
    arguments = (SAC_TEMPERATURE,) if hasattr(agent, "ent_coef") else ()
    return agent._target_values(batch, *arguments)


def update_actor(agent, batch):
    """The actor's loss as ``train`` computes it."""
    if hasattr(agent, "ent_coef"):
        actions, log_prob = agent.actor.action_log_prob(batch.observations)
        agent._update_actor(batch, actions, log_prob.reshape(-1, 1), SAC_TEMPERATURE)
    else:
        agent._update_actor(batch)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_critic_is_a_network_of_observation_and_action(algo):
    agent = small(f"{algo}-spiking", policy_kwargs=dict(net_arch=dict(pi=[8], qf=[7, 5])))
    assert agent.parts() == {"actor": agent.actor, "critic": agent.critic}
    assert len(agent.critic.networks) == CRITICS[algo]
    for network in agent.critic.networks:
        shapes = [tuple(layer.linear.weight.shape) for layer in network.layers]
        assert shapes == [(7, 4 * 10), (5, 7)]
        assert tuple(network.decoder.linear.weight.shape) == (1, 5)
    observations, actions = torch.rand(6, 2), torch.rand(6, 2)
    agent.policy.set_training_mode(False)
    values = agent.critic(observations, actions)
    assert [tuple(value.shape) for value in values] == [(6, 1)] * CRITICS[algo]
    assert torch.equal(agent.critic.q1_forward(observations, actions), values[0])
    together = torch.cat([observations, actions], dim=1)
    for value, network in zip(values, agent.critic.networks, strict=True):
        assert torch.equal(value, network(together))


def test_critics_start_apart():
    one, other = small("td3-spiking").critic.networks
    assert not torch.equal(one.layers[0].linear.weight, other.layers[0].linear.weight)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_once_in_each_gradient_step(algo):
    agent = filled(algo)
    updates = []
    for layer in norm_layers(agent.policy):
        layer.update.register_forward_hook(lambda rule, *_: updates.append(rule))
    agent.train(5, 16)
    critic = [layer.update for layer in norm_layers(agent.critic)]
    assert len(critic) == 2 * CRITICS[algo]
    assert all(updates.count(rule) == 5 for rule in critic)
    targets = [agent.critic_target, getattr(agent, "actor_target", torch.nn.Module())]
    followers = [layer.update for target in targets for layer in norm_layers(target)]
    assert followers
    assert not any(rule in updates for rule in followers)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_own_loss_moves_them_by_the_statistics_of_the_replayed_actions(algo):
    agent = filled(algo, bn="vanilla")
    batch = agent.replay_buffer.sample(16)
    inputs = torch.cat([batch.observations, batch.actions], dim=1)
    before, expected = [], []
    for network in agent.critic.networks:
        layer = network.layers[0]
        with torch.no_grad():
            x = layer.linear(network.encoder(inputs)).flatten(0, 1)
        before.append(layer.norm.moving_mean.clone())
        expected.append(0.9 * layer.norm.moving_mean + 0.1 * x.mean(0))
    agent._update_critic(batch, targets_of(agent, batch))
    for network, old, mean in zip(agent.critic.networks, before, expected, strict=True):
        assert not torch.equal(network.layers[0].norm.moving_mean, old)
        torch.testing.assert_close(network.layers[0].norm.moving_mean, mean)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_actors_loss_uses_the_moving_ones_and_moves_nothing(algo):
    agent = filled(algo)
    batch = agent.replay_buffer.sample(16)
    before = buffers(agent.critic)
    weights = [parameter.clone() for parameter in agent.actor.parameters()]
    seen = []
    for network in agent.critic.networks:
        network.register_forward_hook(lambda _, inputs, value: seen.append((inputs[0], value)))
    update_actor(agent, batch)
    assert not changed(before, agent.critic)
    assert all(layer.training for layer in norm_layers(agent.critic))

    # TD3 and DDPG ask the first critic alone.
    asked = list(agent.critic.networks) if algo == "sac" else [agent.critic.networks[0]]
    for network, (inputs, value) in zip(asked, list(seen), strict=True):
        network.eval()
        assert torch.equal(network(inputs), value)
        network.train()
        assert not torch.allclose(network(inputs), value)
    after = agent.actor.parameters()
    moved = [not torch.equal(old, new) for old, new in zip(weights, after, strict=True)]
    assert sum(moved) > len(moved) / 2


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_critics_gradient_reaches_the_actor_through_its_spikes(algo):
    agent = filled(algo)
    observations = agent.replay_buffer.sample(16).observations
    actions = torch.rand(16, 2).requires_grad_()
    agent.policy.set_training_mode(False)
    agent.critic.q1_forward(observations, actions).sum().backward()
    assert (actions.grad != 0).any(dim=0).all()
    agent.critic(observations, actions)[0].sum().backward()
    for name, parameter in agent.critic.networks[0].named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_targets_pass_moves_nothing(algo):
    agent = filled(algo)
    before = buffers(agent.policy)
    targets_of(agent, agent.replay_buffer.sample(16))
    assert not changed(before, agent.policy)
    assert not any(module.training for module in agent.critic_target.modules())


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("target_stats", ["soft", "hard"])
def test_target_statistics_after_a_whole_update(algo, target_stats):
    bn = NO_RECALIBRATION | dict(target_stats=target_stats)
    agent = filled(algo, bn=bn, tau=0.25, **dict(policy_delay=1) if algo == "td3" else {})
    agent.train(1, 16)
    share = {"soft": 0.25, "hard": 1.0}[target_stats]
    pairs = zip(norm_layers(agent.critic), norm_layers(agent.critic_target), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(theirs.moving_mean, share * ours.moving_mean)
        torch.testing.assert_close(theirs.moving_var, 1 + share * (ours.moving_var - 1))
        assert ours.moving_mean.any()
        assert not theirs.update.prior_mean.any()
        assert ours.update.prior_mean.any()


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_not_while_acting(algo):
    agent = filled(algo)
    agent.learning_starts, agent.gradient_steps = 0, 0
    before = buffers(agent.policy)
    agent.learn(10)
    assert not changed(before, agent.policy)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_looking_at_the_critics_inputs_leaves_every_mode_as_it_was(algo):
    agent = filled(algo)
    observations = agent.replay_buffer.sample(16).observations
    before, modes = buffers(agent.policy), [m.training for m in agent.policy.modules()]
    state = torch.get_rng_state()
    inputs = agent.part_inputs("critic", observations)
    assert not changed(before, agent.policy)
    assert [m.training for m in agent.policy.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(inputs[0], observations)
    agent.policy.set_training_mode(False)
    with torch.no_grad():
        assert torch.equal(inputs[1], agent.actor(observations))
