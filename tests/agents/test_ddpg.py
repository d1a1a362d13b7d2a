import pytest
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from snnrl.agents import DDPG
from snnrl.errors import UserError

from .helpers import small

SETTINGS = dict(learning_rate=1e-4, critic_learning_rate=2e-3, critic_weight_decay=0.05)


def groups(agent):
    (actor,), (critic,) = agent.actor.optimizer.param_groups, agent.critic.optimizer.param_groups
    return actor, critic


def test_two_learning_rates_and_the_weight_decay_reach_the_optimisers():
    agent = small("ddpg", **SETTINGS).learn(30)
    actor, critic = groups(agent)
    assert (actor["lr"], critic["lr"]) == (1e-4, 2e-3)
    assert (actor["weight_decay"], critic["weight_decay"]) == (0, 0.05)
    assert agent._n_updates == 14


def test_they_survive_saving(tmp_path):
    small("ddpg", **SETTINGS).save(tmp_path / "model")
    agent = DDPG.load(tmp_path / "model", env=small("ddpg").env, device="cpu").learn(30)
    actor, critic = groups(agent)
    assert (actor["lr"], critic["lr"]) == (1e-4, 2e-3)
    assert (actor["weight_decay"], critic["weight_decay"]) == (0, 0.05)


def test_the_critic_learns_at_the_actors_rate_unless_it_has_its_own():
    actor, critic = groups(small("ddpg", learning_rate=3e-4).learn(30))
    assert actor["lr"] == critic["lr"] == 3e-4
    assert critic["weight_decay"] == 0


def test_the_critics_rate_may_be_a_schedule():
    agent = small("ddpg", learning_rate=1e-4, critic_learning_rate=lambda left: 1e-2 * left)
    agent.learn(30)
    actor, critic = groups(agent)
    assert actor["lr"] == 1e-4
    assert critic["lr"] == pytest.approx(1e-2 * agent._current_progress_remaining)


def test_the_weight_decay_pulls_on_the_critic():
    agents = [small("ddpg", critic_weight_decay=decay) for decay in (0.0, 0.5)]
    norms = [sum(p.norm() for p in agent.learn(40).critic.parameters()) for agent in agents]
    assert norms[1] < norms[0]


def test_the_action_enters_the_critics_second_layer():
    agent = small("ddpg", policy_kwargs=dict(net_arch=dict(pi=[8], qf=[7, 5])))
    shapes = [tuple(p.shape) for n, p in agent.critic.named_parameters() if n.endswith("weight")]
    assert shapes == [(7, 2), (5, 7 + 2), (1, 5)]

    observations, actions = torch.randn(4, 2), torch.rand(4, 2)
    (w1, b1), (w2, b2), (w3, b3) = zip(*[iter(agent.critic.parameters())] * 2, strict=True)
    hidden = torch.relu(observations @ w1.T + b1)
    hidden = torch.relu(torch.cat([hidden, actions], 1) @ w2.T + b2)
    expected = hidden @ w3.T + b3
    torch.testing.assert_close(agent.critic.q1_forward(observations, actions), expected)
    (value,) = agent.critic(observations, actions)
    torch.testing.assert_close(value, expected)


def test_one_critic_no_delay_and_no_noise_on_the_target():
    agent = small("ddpg", gamma=0.9, learning_starts=1_000).learn(40)
    batch = agent.replay_buffer.sample(16)
    with torch.no_grad():
        actions = agent.actor_target(batch.next_observations)
        (value,) = agent.critic_target(batch.next_observations, actions)
    expected = batch.rewards + 0.9 * (1 - batch.dones) * value
    assert torch.equal(agent._target_values(batch), expected)
    before = agent.actor.network.decoder.weight.clone()
    agent.train(1, 16)
    assert not torch.equal(before, agent.actor.network.decoder.weight)


class Extractor(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, features_dim=3)
        self.map = torch.nn.Linear(2, 3)

    def forward(self, observation):
        return self.map(observation)


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_extractor_does_not_learn_from_the_critic(shared):
    arguments = dict(features_extractor_class=Extractor, share_features_extractor=shared)
    critic = small("ddpg", policy_kwargs=arguments).critic
    critic(torch.ones(3, 2), torch.zeros(3, 2))[0].sum().backward()
    assert (critic.features_extractor.map.weight.grad is None) == shared


def test_the_critic_needs_a_hidden_layer():
    with pytest.raises(UserError, match="needs a hidden layer"):
        small("ddpg", policy_kwargs=dict(net_arch=dict(pi=[8], qf=[])))
