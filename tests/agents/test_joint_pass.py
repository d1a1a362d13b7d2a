"""The joint pass of critics, and agents without target networks."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from snnrl.agents import DQN, PPO
from snnrl.agents.off_policy import ReplayAgent
from snnrl.errors import UserError
from snnrl.nn.norm import BatchNorm, norm_layers
from snnrl.nn.registry import component, names
from tests.envs import Follow, Match

from .helpers import assert_equal_states, small
from .updates.tape import TapeRecorder

ALGORITHMS = ["td3", "ddpg", "sac"]
CRITICS = ["ann", "spiking"]
NORMS = names("norm")
JOINT = dict(joint_pass=True, target_networks=False)
TEMPERATURE = torch.tensor([0.2])


def agent_of(algo: str, critic: str = "ann", bn: Any = "renorm", **arguments: Any) -> Any:
    spec = dict(name=critic, bn=bn, **dict(time_steps=3) if critic == "spiking" else {})
    return small(algo, policy_kwargs=dict(critic=spec), **arguments)


def filled(algo: str, critic: str = "ann", bn: Any = "vanilla", **arguments: Any) -> Any:
    """With a filled buffer, statistics that have moved, and networks in training mode."""
    agent = agent_of(algo, critic, bn, learning_starts=1_000, **JOINT | arguments).learn(30)
    agent.train(2, 16)
    agent.policy.set_training_mode(True)
    return agent


def temperature_of(agent: Any) -> list[torch.Tensor]:
    return [TEMPERATURE] if hasattr(agent, "ent_coef") else []


class Both:
    """What the critic's passes that learn were called with, and what they returned."""

    def __init__(self, agent: Any):
        self.inputs: list[Any] = []
        self.values: list[Any] = []
        agent.critic.register_forward_hook(self._keep)

    def _keep(self, critic: Any, inputs: Any, values: Any) -> None:
        if critic.learns():
            self.inputs.append(inputs)
            self.values.append(values)
            for value in values:
                value.retain_grad()


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_both_pairs_are_one_batch_whose_next_values_are_constants(algo, critic):
    agent = filled(algo, critic)
    batch = agent.replay_buffer.sample(16)
    seen, losses, keep = Both(agent), [], agent._keep_loss
    agent._keep_loss = lambda name, value: (losses.append(value), keep(name, value))
    torch.manual_seed(3)
    with torch.no_grad():
        next_actions, bonus = agent._next_actions(batch.next_observations, *temperature_of(agent))
    torch.manual_seed(3)
    agent._learn_values(batch, *temperature_of(agent))
    ((observations, actions),) = seen.inputs
    assert torch.equal(observations, torch.cat([batch.observations, batch.next_observations]))
    assert torch.equal(actions, torch.cat([batch.actions, next_actions]))
    (values,) = seen.values
    lowest = torch.stack([value[16:] for value in values]).amin(0).detach()
    follow = lowest + (0 if bonus is None else bonus)
    targets = batch.rewards + (1 - batch.dones) * agent.gamma * follow
    share = 0.5 if algo == "sac" else 1.0
    expected = share * sum(((value[:16] - targets) ** 2).mean() for value in values)
    torch.testing.assert_close(losses[0], expected)
    for value in values:
        torch.testing.assert_close(value.grad[:16], share * 2 * (value[:16] - targets) / 16)
        assert not value.grad[16:].any()


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_statistics_move_once_by_those_of_the_mixture(algo, critic):
    agent = filled(algo, critic)
    layers = norm_layers(agent.critic)
    before = [(layer.moving_mean.clone(), layer.moving_var.clone()) for layer in layers]
    inputs: list[list[torch.Tensor]] = [[] for _ in layers]
    for layer, kept in zip(layers, inputs, strict=True):
        layer.register_forward_pre_hook(lambda _, x, kept=kept: kept.append(x[0].detach()))
    batch = agent.replay_buffer.sample(16)
    agent._learn_values(batch, *temperature_of(agent))
    for layer, (mean, var), kept in zip(layers, before, inputs, strict=True):
        (x,) = kept
        assert x.shape[:2] == (3 if critic == "spiking" else 1, 32)
        x = x.flatten(0, 1)
        torch.testing.assert_close(layer.moving_mean, 0.9 * mean + 0.1 * x.mean(0))
        var = 0.9 * var + 0.1 * x.var(0, correction=0)
        torch.testing.assert_close(layer.moving_var, var)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_without_target_networks_none_is_called_or_moves(algo, joint):
    agent = filled(algo, joint_pass=joint)
    targets = [agent.critic_target, *([agent.actor_target] if algo != "sac" else [])]
    before = [[p.clone() for p in target.state_dict().values()] for target in targets]
    called = []
    for target in targets:
        target.register_forward_hook(lambda *_: called.append(1))
    weights = [weight.clone() for weight in agent.critic.parameters()]
    agent.train(4, 16)
    assert not called
    assert not all(map(torch.equal, weights, agent.critic.parameters()))
    for target, kept in zip(targets, before, strict=True):
        assert all(map(torch.equal, target.state_dict().values(), kept))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_without_both_the_critic_values_the_next_pair_by_its_moving_statistics(algo):
    agent = filled(algo, joint_pass=False)
    batch = agent.replay_buffer.sample(16)
    torch.manual_seed(3)
    targets = agent._target_values(batch, *temperature_of(agent))
    agent.policy.set_training_mode(False)
    torch.manual_seed(3)
    with torch.no_grad():
        actions, bonus = agent._next_actions(batch.next_observations, *temperature_of(agent))
        lowest = torch.cat(agent.critic(batch.next_observations, actions), 1).amin(1, True)
    follow = lowest + (0 if bonus is None else bonus)
    expected = batch.rewards + (1 - batch.dones) * agent.gamma * follow
    torch.testing.assert_close(targets, expected)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_recalibration_pools_the_mixture_and_draws_from_no_other_generator(algo):
    agent = filled(algo, bn=dict(name="vanilla", recalibrate_every=7, recalibrate_batches=3))
    buffer = agent.replay_buffer
    state = torch.get_rng_state()
    one, other = (agent.sample_inputs("critic", 8, np.random.default_rng(4)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, one, other))
    rows = np.random.default_rng(4).integers(buffer.size(), size=8)
    observations, actions = one
    assert np.array_equal(observations[:8], buffer.observations[rows, 0])
    assert np.array_equal(observations[8:], buffer.next_observations[rows, 0])
    assert np.array_equal(actions[:8], buffer.actions[rows, 0])
    assert not torch.equal(actions[8:], actions[:8])
    agent.recalibrate(["critic"])
    assert all(layer.moving_mean.any() for layer in norm_layers(agent.critic))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_captured_steps_compute_the_same(algo, critic, joint, monkeypatch):
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())

    def play(captured):
        bn = dict(name="renorm", warmup=5)
        given = JOINT | dict(joint_pass=joint)
        agent = agent_of(algo, critic, bn, learning_starts=1_000, **given).learn(30)
        agent.set_random_seed(11)
        if not captured:
            agent.captured = None
        agent.train(12, 16)
        return agent

    one, other = play(True), play(False)
    assert "replay" in one.captured._recorder.events
    assert_equal_states(one.policy, other.policy)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_saved_agent_goes_on_as_it_would_have(algo, tmp_path):
    agent = filled(algo, bn="renorm")
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent", env=Follow(), device="cpu")
    assert (loaded.joint_pass, loaded.target_networks) == (True, False)
    loaded.replay_buffer = agent.replay_buffer
    for each in (agent, loaded):
        torch.manual_seed(1)
        np.random.seed(1)
        each.train(2, 16)
    assert_equal_states(agent.policy, loaded.policy)
    with pytest.raises(UserError, match=r"^target_networks=True: a saved agent keeps its own"):
        type(agent).load(tmp_path / "agent", target_networks=True)


def test_an_agent_saved_before_has_target_networks_and_no_joint_pass(tmp_path):
    agent = small("td3")
    del agent.joint_pass, agent.target_networks
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent")
    assert (loaded.joint_pass, loaded.target_networks) == (False, True)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    ("critic", "bn"),
    [
        (critic, bn)
        for critic, bn in product(CRITICS, NORMS)
        if critic != "ann" or not component("norm", bn).maker.needs_spikes()  # type: ignore[attr-defined]
    ],
)
def test_a_critic_without_statistics_of_the_batch_is_refused(critic, bn):
    maker: Any = component("norm", bn).maker
    if issubclass(maker, BatchNorm):
        assert agent_of("td3", critic, bn, **JOINT).joint_pass
        return
    message = rf"^joint_pass=True: the critic's bn={bn} uses no statistics of the batch; expected"
    with pytest.raises(UserError, match=message) as caught:
        agent_of("td3", critic, bn, **JOINT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_what_does_not_fit_is_refused(algo):
    with pytest.raises(UserError, match=r"bn=none uses no statistics"):
        small(algo, **JOINT)
    with pytest.raises(UserError, match=r"^joint_pass=True: .*expected target_networks=False$"):
        agent_of(algo, joint_pass=True)
    for key in JOINT:
        with pytest.raises(UserError, match=rf"^{key}=1: expected True or False$"):
            agent_of(algo, **{key: 1})


@pytest.mark.parametrize(("kind", "env"), [(DQN, Match), (PPO, Follow)])
def test_other_algorithms_have_none(kind, env):
    with pytest.raises((UserError, TypeError), match="joint_pass"):
        kind("SpikingPolicy", env(), joint_pass=True)


def mean_reward(agent: Any) -> float:
    """Mean over 300 steps of the agent's own actions; always acting 0 has -0.67."""
    env = Follow()
    observation, _ = env.reset(seed=9)
    rewards = []
    for _ in range(300):
        action, _ = agent.predict(observation, deterministic=True)
        observation, reward, _, truncated, _ = env.step(action)
        rewards.append(reward)
        if truncated:
            observation, _ = env.reset()
    return float(np.mean(rewards))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_it_learns(algo):
    critic = dict(name="ann", bn=dict(name="renorm", warmup=100))
    bn = dict(name="carebn", recalibrate_every=None)
    agent = small(
        algo,
        policy_kwargs=dict(net_arch=[32, 32], bn=bn, critic=critic, kernel="native"),
        learning_rate=1e-3,
        batch_size=64,
        gamma=0.5,
        learning_starts=100,
        buffer_size=5_000,
        **JOINT,
    )
    assert mean_reward(agent) < -0.4
    assert mean_reward(agent.learn(1_500)) > -0.2
