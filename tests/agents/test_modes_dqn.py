"""DQN: statistics move in the Q-network's own loss, and reach the target with its weights."""

import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.nn.norm import norm_layers
from tests.envs import Match

from .helpers import assert_equal_states, buffers, changed, small

NO_RECALIBRATION = dict(name="carebn", recalibrate_every=None)
STATISTICS = ("moving_mean", "moving_var")


def filled(**arguments):
    """An agent with a filled buffer that has not learned, in train mode."""
    policy_kwargs = dict(bn=NO_RECALIBRATION) | arguments.pop("policy_kwargs", {})
    agent = small("dqn", policy_kwargs=policy_kwargs, learning_starts=1_000, **arguments)
    agent.learn(30)
    agent.policy.set_training_mode(True)
    return agent


def test_the_targets_pass_uses_the_targets_moving_statistics():
    agent = filled()
    for layer in norm_layers(agent.q_net_target):
        layer.moving_mean.fill_(0.5)
        layer.moving_var.fill_(2.0)
    before = buffers(agent.policy)
    batch = agent.replay_buffer.sample(16)
    targets = agent._target_values(batch)
    assert not changed(before, agent.policy)

    network = agent.q_net_target.network
    x = network.encoder(batch.next_observations)
    with torch.no_grad():
        for layer in network.layers:
            current = 0.25 * (layer.linear(x) - 0.5) / (2 + 1e-5) ** 0.5 + 0.25
            x = layer.neuron(current)[0]
        best = network.decoder.linear(x.sum(0)).amax(1, keepdim=True)
    torch.testing.assert_close(targets, batch.rewards + 0.99 * (1 - batch.dones) * best)


def test_once_in_each_update_and_never_in_the_target():
    agent = filled()
    updates = []
    for layer in norm_layers(agent.policy):
        layer.update.register_forward_hook(lambda rule, *_: updates.append(rule))
    agent.train(5, 16)
    ours = [layer.update for layer in norm_layers(agent.q_net)]
    assert len(updates) == 5 * len(ours)
    assert all(updates.count(rule) == 5 for rule in ours)


def test_the_own_loss_moves_them_by_the_statistics_of_its_minibatch():
    agent = filled(policy_kwargs=dict(bn="vanilla"))
    layer = agent.q_net.network.layers[0]
    batch = agent.replay_buffer.sample(16)
    with torch.no_grad():
        x = layer.linear(batch.observations)
    agent._update(batch, agent._target_values(batch))
    torch.testing.assert_close(layer.norm.moving_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(layer.norm.moving_var, 0.9 + 0.1 * x.var(0, correction=0))


def test_not_while_acting_predicting_or_evaluating():
    agent = filled()
    before = buffers(agent.policy)
    agent.learning_starts, agent.gradient_steps, agent.exploration_initial_eps = 0, 0, 0.0
    agent.learn(10)
    agent.policy.set_training_mode(True)
    agent.predict(Match().reset(seed=0)[0], deterministic=True)
    agent.policy.set_training_mode(True)
    evaluate_policy(agent, Match(), n_eval_episodes=1, warn=False)
    assert not changed(before, agent.policy)


def test_the_target_stays_in_evaluation_mode():
    agent = small("dqn", policy_kwargs=dict(bn=NO_RECALIBRATION)).learn(20)
    agent.policy.set_training_mode(True)
    assert not any(module.training for module in agent.q_net_target.modules())


def test_weights_and_statistics_are_copied_each_so_many_updates():
    agent = filled(target_update_updates=3, target_update_interval=1)
    for updates in range(1, 8):
        before = {name: value.clone() for name, value in agent.q_net_target.state_dict().items()}
        agent.train(1, 16)
        if updates % 3:
            for name, value in agent.q_net_target.state_dict().items():
                assert torch.equal(value, before[name]), (updates, name)
        else:
            assert_follows(agent)


def test_a_call_of_many_updates_copies_in_the_midst_of_them():
    agent = filled(target_update_updates=3)
    copies, copy = [], agent._update_targets
    agent._update_targets = lambda: copies.append(agent._n_updates) or copy()
    agent.train(8, 16)
    assert copies == [3, 6]


@pytest.mark.parametrize("n_envs", [1, 2])
def test_otherwise_each_so_many_environment_steps(n_envs):
    env = DummyVecEnv([Match] * n_envs)
    agent = small("dqn", env, target_update_interval=4, learning_starts=0)
    copies, copy = [], agent._update_targets
    agent._update_targets = lambda: copies.append(agent.num_timesteps) or copy()
    agent.learn(12)
    assert copies == [4, 8, 12]


@pytest.mark.parametrize(
    ("tau", "target_stats", "weights", "statistics"),
    [(1.0, "soft", 1.0, 1.0), (0.25, "soft", 0.25, 0.25), (0.25, "hard", 0.25, 1.0)],
)
def test_how_far_a_target_goes(tau, target_stats, weights, statistics):
    bn = NO_RECALIBRATION | dict(target_stats=target_stats)
    agent = filled(policy_kwargs=dict(bn=bn), tau=tau)
    theirs = {name: value.clone() for name, value in agent.q_net_target.state_dict().items()}
    agent.train(2, 16)
    agent._update_targets()
    ours = agent.q_net.state_dict()
    for name, value in agent.q_net_target.state_dict().items():
        if ".update." in name:
            assert torch.equal(value, theirs[name]), name
        else:
            share = statistics if name.endswith(STATISTICS) else weights
            assert not torch.equal(ours[name], theirs[name]), name
            torch.testing.assert_close(
                value, theirs[name] + share * (ours[name] - theirs[name]), msg=name
            )


def assert_follows(agent):
    """The target is a copy; only the confidence is the online network's own."""
    for name, value in agent.q_net_target.state_dict().items():
        if ".update." not in name:
            assert torch.equal(value, agent.q_net.state_dict()[name]), name


def test_without_normalisation_everything_is_copied():
    agent = filled(policy_kwargs=dict(bn="none"), target_update_updates=2)
    agent.train(2, 16)
    assert_equal_states(agent.q_net, agent.q_net_target)
