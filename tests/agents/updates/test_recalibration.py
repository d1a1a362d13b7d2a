"""When an agent re-calibrates, from what, and that nothing else notices."""

import random

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.agents import TD3
from snnrl.nn.norm import norm_layers
from snnrl.seeds import stream
from tests.agents.helpers import VARIANTS, buffers, changed, small
from tests.envs import Follow


def every(steps, name="carebn"):
    return dict(bn=dict(name=name, recalibrate_every=steps, recalibrate_batches=3))


@pytest.fixture
def clock(monkeypatch):
    """Steps at which an agent re-calibrated."""

    def watch(agent):
        steps, recalibrate = [], agent.recalibrate

        def recorded(names):
            steps.append(agent.num_timesteps)
            recalibrate(names)

        monkeypatch.setattr(agent, "recalibrate", recorded)
        return steps

    return watch


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["carebn", "re_only"])
def test_it_comes_at_its_clock(clock, variant, name):
    agent = small(variant, policy_kwargs=every(10, name))
    steps = clock(agent)
    agent.learn(35)
    assert steps == [10, 20, 30]


def test_it_comes_at_the_end_of_training_if_that_is_its_step(clock):
    agent = small(policy_kwargs=every(10))
    steps = clock(agent)
    agent.learn(20)
    assert steps == [10, 20]


def test_it_comes_after_the_step_of_several_environments_that_passes_it(clock):
    agent = small(env=DummyVecEnv([Follow, Follow]), policy_kwargs=every(5))
    steps = clock(agent)
    agent.learn(20)
    assert steps == [6, 10, 16, 20]


def test_it_waits_for_the_end_of_a_rollout(clock):
    agent = small(policy_kwargs=every(5), train_freq=4)
    steps = clock(agent)
    agent.learn(20)
    assert steps == [8, 12, 16, 20]


def test_the_clock_goes_on_when_training_does(clock):
    agent = small(policy_kwargs=every(10))
    steps = clock(agent)
    agent.learn(15)
    agent.learn(15, reset_num_timesteps=False)
    assert steps == [10, 20, 30]


def test_the_clock_starts_anew_when_the_steps_are_counted_anew(clock):
    agent = small(policy_kwargs=every(10))
    steps = clock(agent)
    agent.learn(20)
    agent.learn(20)
    assert steps == [10, 20, 10, 20]


@pytest.mark.parametrize("bn", ["none", "vanilla", "ca_only"])
def test_strategies_without_it_never_do(clock, bn):
    agent = small(policy_kwargs=dict(bn=bn))
    steps = clock(agent)
    agent.learn(20)
    assert steps == []
    assert not agent.recalibration_due()


def test_an_ordinary_policy_never_does(clock):
    agent = TD3("AnnPolicy", Follow(), policy_kwargs=dict(net_arch=[8]), device="cpu")
    steps = clock(agent)
    agent.learn(20)
    assert steps == []
    assert not agent.recalibration_due()


class Order(BaseCallback):
    """What the user's callback sees when a rollout starts and when training ends."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def _on_rollout_start(self):
        self._look()

    def _on_training_end(self):
        self._look()

    def _look(self):
        at = self.model.recalibrated_at.get("actor", 0)
        self.seen[self.num_timesteps] = at, buffers(self.model.actor)

    def _on_step(self):
        return True


@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: [callback]])
def test_it_comes_before_the_users_callback_at_the_same_step(wrap):
    callback = Order()
    agent = small(policy_kwargs=every(10))
    agent.learn(20, callback=wrap(callback))
    recalibrated_at = {step: at for step, (at, _) in callback.seen.items()}
    assert recalibrated_at[9] == 0
    assert recalibrated_at[10] == recalibrated_at[19] == 10
    assert recalibrated_at[20] == 20
    assert not changed(callback.seen[20][1], agent.actor)


def test_a_plain_function_is_a_callback_too():
    steps = []
    small(policy_kwargs=every(10)).learn(12, callback=lambda here, _: steps.append(here) or True)
    assert len(steps) == 12


def test_the_statistics_are_those_of_its_own_generators_minibatches():
    agent = small(policy_kwargs=every(1_000), seed=4).learn(40)
    confidence = agent.actor.network.layers[0].norm.update.prior_mean.clone()
    agent.recalibrate()

    generator = stream(4, "recalibration/actor")
    stored = agent.replay_buffer.observations[:40, 0]
    rows = []
    for _ in range(3):
        rows.append(generator.integers(40, size=16))
        generator.integers(1, size=16)  # which environment
    observations = torch.as_tensor(stored[np.concatenate(rows)])
    layer = agent.actor.network.layers[0]
    with torch.no_grad():
        x = layer.linear(agent.actor.network.encoder(observations)).flatten(0, 1)
    torch.testing.assert_close(layer.norm.moving_mean, x.mean(0))
    torch.testing.assert_close(layer.norm.moving_var, x.var(0, correction=0))
    assert torch.equal(layer.norm.update.prior_mean, confidence)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_draws_from_no_other_generator_and_touches_nothing_else(variant):
    agent = small(variant, policy_kwargs=every(1_000)).learn(25)
    followers = [m for n, m in agent.policy.named_children() if n.endswith("_target")]
    assert followers
    targets = [buffers(target) for target in followers]
    parameters = [parameter.clone() for parameter in agent.policy.parameters()]
    modes = [module.training for module in agent.policy.modules()]
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    python_state, space_state = random.getstate(), agent.action_space.np_random.bit_generator.state
    agent.recalibrate()
    for before, after in zip(numpy_state, np.random.get_state(), strict=True):
        assert np.array_equal(before, after)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert random.getstate() == python_state
    assert agent.action_space.np_random.bit_generator.state == space_state
    for before, target in zip(targets, followers, strict=True):
        assert not changed(before, target)
    for before, after in zip(parameters, agent.policy.parameters(), strict=True):
        assert torch.equal(before, after)
    assert [module.training for module in agent.policy.modules()] == modes


def test_successive_recalibrations_draw_anew():
    agent = small(policy_kwargs=every(1_000)).learn(40)
    agent.recalibrate()
    first = buffers(agent.actor)
    agent.recalibrate()
    assert changed(first, agent.actor)


def test_the_statistics_from_before_are_kept_for_measuring():
    agent = small(policy_kwargs=every(1_000)).learn(40)
    before = [(n.moving_mean.clone(), n.moving_var.clone()) for n in norm_layers(agent.actor)]
    agent.recalibrate()
    kept = agent.statistics_before["actor"]
    for (mean, var), (kept_mean, kept_var) in zip(before, kept, strict=True):
        assert torch.equal(mean, kept_mean)
        assert torch.equal(var, kept_var)


CONTINUOUS = ["td3", "ddpg", "sac"]


def with_critic(algo, critic_every, actor_every=10, seed=4):
    """Actor and critic with clocks of their own; ``None`` is never."""
    bn = dict(name="carebn", recalibrate_batches=3)
    critic = dict(name="spiking", bn=bn | dict(recalibrate_every=critic_every), time_steps=3)
    policy_kwargs = dict(bn=bn | dict(recalibrate_every=actor_every), critic=critic)
    return small(algo, policy_kwargs=policy_kwargs, seed=seed)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", CONTINUOUS)
def test_actor_and_critic_have_clocks_of_their_own(algo, monkeypatch):
    agent = with_critic(algo, critic_every=7)
    seen, recalibrate = [], agent.recalibrate

    def recorded(names):
        seen.append((agent.num_timesteps, names))
        before = {name: buffers(part) for name, part in agent.parts().items()}
        recalibrate(names)
        touched = [name for name, part in agent.parts().items() if changed(before[name], part)]
        assert touched == names

    monkeypatch.setattr(agent, "recalibrate", recorded)
    agent.learn(35)
    assert seen == [
        (7, ["critic"]),
        (10, ["actor"]),
        (14, ["critic"]),
        (20, ["actor"]),
        (21, ["critic"]),
        (28, ["critic"]),
        (30, ["actor"]),
        (35, ["critic"]),
    ]
    assert agent.recalibrated_at == {"actor": 30, "critic": 35}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("actor", "critic", "expected"),
    [(10, None, {"actor": 20}), (None, 10, {"critic": 20}), (None, None, {})],
)
def test_a_part_without_it_never_does(actor, critic, expected):
    agent = with_critic("td3", critic, actor).learn(25)
    assert agent.recalibrated_at == expected


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", CONTINUOUS)
def test_the_clock_of_one_does_not_change_what_the_other_draws(algo):
    """The re-calibration of the actor after one of the critic is that without it."""
    one, other = (with_critic(algo, critic_every=1_000).learn(25) for _ in range(2))
    one.recalibrate(["critic"])
    one.recalibrate(["actor"])
    other.recalibrate(["actor"])
    for name, buffer in other.actor.named_buffers():
        assert torch.equal(one.actor.get_buffer(name), buffer), name
    assert changed(buffers(other.critic), one.critic)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", CONTINUOUS)
def test_the_critics_statistics_are_those_of_its_own_generators_minibatches(algo):
    agent = with_critic(algo, critic_every=1_000).learn(25)
    agent.recalibrate(["critic"])

    generator = stream(4, "recalibration/critic")
    rows = []
    for _ in range(3):
        rows.append(generator.integers(25, size=16))
        generator.integers(1, size=16)  # which environment
    rows = np.concatenate(rows)
    replay = agent.replay_buffer
    inputs = np.concatenate([replay.observations[rows, 0], replay.actions[rows, 0]], axis=1)
    for network in agent.critic.networks:
        layer = network.layers[0]
        with torch.no_grad():
            x = layer.linear(network.encoder(torch.as_tensor(inputs))).flatten(0, 1)
        torch.testing.assert_close(layer.norm.moving_mean, x.mean(0))
        torch.testing.assert_close(layer.norm.moving_var, x.var(0, correction=0))
    assert len(agent.statistics_before["critic"]) == len(norm_layers(agent.critic))


@pytest.mark.parametrize("variant", VARIANTS)
def test_inputs_of_a_part_fit_it_and_are_drawn_by_the_generator_given(variant):
    agent = small(variant, learning_starts=1_000)
    generator = np.random.default_rng(0)
    assert all(agent.sample_inputs(name, 5, generator) is None for name in agent.parts())
    agent.learn(10)
    state = np.random.get_state()[1].tolist()
    for name, part in agent.parts().items():
        inputs, again = (agent.sample_inputs(name, 5, np.random.default_rng(1)) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(inputs, again, strict=True))
        assert all(len(each) == 5 for each in inputs)
        part(*inputs)
        part(*agent.part_inputs(name, inputs[0]))
    assert np.random.get_state()[1].tolist() == state
    assert agent.experience == "replay"
