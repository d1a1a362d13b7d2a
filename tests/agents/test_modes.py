"""Statistics move in the actor's own loss and nowhere else."""

import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from snnrl.nn.norm import norm_layers
from snnrl.nn.norm.confidence import ConfidenceUpdate
from tests.envs import Follow

from .helpers import buffers, changed, small

# A re-calibration replaces statistics on its own clock, which is tested elsewhere.
NO_RECALIBRATION = dict(name="carebn", recalibrate_every=None)


def trained(algo="td3", bn=NO_RECALIBRATION, **arguments):
    """An agent with a filled buffer, statistics that have moved, and the actor in train mode."""
    agent = small(algo, policy_kwargs=dict(bn=bn), **arguments)
    agent.learn(40)
    agent.train(4, 16)
    assert agent.actor.training
    return agent


def statistics(agent):
    return buffers(agent.actor), buffers(agent.actor_target)


def assert_unmoved(agent, before):
    actor, target = before
    assert not changed(actor, agent.actor)
    assert not changed(target, agent.actor_target)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_not_while_acting(algo):
    agent = trained(algo)
    agent.learning_starts, agent.gradient_steps = 0, 0
    before = statistics(agent)
    agent.learn(20)
    assert_unmoved(agent, before)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_not_while_predicting_or_evaluating(algo):
    agent = trained(algo)
    before = statistics(agent)
    agent.predict(Follow().reset(seed=0)[0])
    agent.policy.set_training_mode(True)
    evaluate_policy(agent, Follow(), n_eval_episodes=2, warn=False)
    assert_unmoved(agent, before)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_not_in_the_targets_pass_nor_the_critics_update(algo):
    agent = trained(algo)
    before = statistics(agent)
    batch = agent.replay_buffer.sample(16)
    agent._update_critic(batch, agent._target_values(batch))
    assert_unmoved(agent, before)


def test_a_delayed_step_updates_the_critic_alone():
    agent = small(policy_kwargs=dict(bn=NO_RECALIBRATION), learning_starts=1_000, policy_delay=3)
    agent.learn(40)
    before = statistics(agent)
    critic = agent.critic.qf0[0].weight.clone()
    agent.train(2, 16)
    assert not torch.equal(critic, agent.critic.qf0[0].weight)
    assert_unmoved(agent, before)
    agent.train(1, 16)
    assert changed(before[0], agent.actor) == set(before[0])


@pytest.mark.parametrize(("algo", "steps", "expected"), [("td3", 5, 2), ("ddpg", 5, 5)])
def test_once_in_each_actor_update(algo, steps, expected):
    agent = small(algo, policy_kwargs=dict(bn=NO_RECALIBRATION), learning_starts=1_000)
    agent.learn(40)
    calls = []
    for network in (agent.actor, agent.actor_target):
        for module in network.modules():
            if isinstance(module, ConfidenceUpdate):
                module.register_forward_hook(lambda *_, owner=network: calls.append(owner))
    agent.train(steps, 16)
    assert all(owner is agent.actor for owner in calls)
    assert len(calls) == expected * len(norm_layers(agent.actor))


def test_the_actors_loss_moves_them_by_the_statistics_of_its_minibatch():
    agent = trained(bn="vanilla")
    layer = agent.actor.network.layers[0]
    batch = agent.replay_buffer.sample(16)
    mean, var = layer.norm.moving_mean.clone(), layer.norm.moving_var.clone()
    with torch.no_grad():
        x = layer.linear(agent.actor.network.encoder(batch.observations)).flatten(0, 1)
    agent._update_actor(batch)
    torch.testing.assert_close(layer.norm.moving_mean, 0.9 * mean + 0.1 * x.mean(0))
    torch.testing.assert_close(layer.norm.moving_var, 0.9 * var + 0.1 * x.var(0, correction=0))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg"])
def test_targets_stay_in_evaluation_mode(algo):
    agent = trained(algo)
    agent.policy.set_training_mode(True)
    for target in (agent.actor_target, agent.critic_target):
        assert not any(module.training for module in target.modules())


@pytest.mark.parametrize(
    ("bn", "mean", "var"),
    [
        ("carebn", 1.5, 4.25),
        ("vanilla", 1.5, 4.25),
        (dict(name="carebn", target_stats="hard"), 3.0, 5.0),
        (dict(name="vanilla", target_stats="hard"), 3.0, 5.0),
    ],
)
def test_target_statistics_follow_softly_or_are_copied(bn, mean, var):
    agent = small(policy_kwargs=dict(bn=bn), tau=0.25)
    for ours, theirs in zip(norm_layers(agent.actor), norm_layers(agent.actor_target), strict=True):
        ours.moving_mean.fill_(3.0)
        theirs.moving_mean.fill_(1.0)
        ours.moving_var.fill_(5.0)
        theirs.moving_var.fill_(4.0)
    agent._update_targets()
    for layer in norm_layers(agent.actor_target):
        assert torch.equal(layer.moving_mean, torch.full_like(layer.moving_mean, mean))
        assert torch.equal(layer.moving_var, torch.full_like(layer.moving_var, var))
    for layer in norm_layers(agent.actor):
        assert torch.equal(layer.moving_mean, torch.full_like(layer.moving_mean, 3.0))


@pytest.mark.parametrize("target_stats", ["soft", "hard"])
def test_target_statistics_after_a_whole_update(target_stats):
    agent = small(
        policy_kwargs=dict(bn=NO_RECALIBRATION | dict(target_stats=target_stats)),
        learning_starts=1_000,
        policy_delay=1,
        tau=0.25,
    )
    agent.learn(40)
    agent.train(1, 16)
    share = {"soft": 0.25, "hard": 1.0}[target_stats]
    for ours, theirs in zip(norm_layers(agent.actor), norm_layers(agent.actor_target), strict=True):
        torch.testing.assert_close(theirs.moving_mean, share * ours.moving_mean)
        torch.testing.assert_close(theirs.moving_var, 1 + share * (ours.moving_var - 1))
        assert not theirs.update.prior_mean.any()
        assert ours.update.prior_mean.any()
