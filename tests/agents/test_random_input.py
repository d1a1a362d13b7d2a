"""Agents whose encoder draws: which passes move the draws, and which see the same ones."""

import copy

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from snnrl.agents import PPO
from snnrl.nn.random_numbers import random_numbers

from .helpers import ALGORITHMS, VARIANTS, small, task
from .ppo_helpers import small_ppo

POISSON = dict(encoder="poisson")


def made(variant):
    if variant == "ppo":
        return small_ppo(policy_kwargs=POISSON | dict(critic="spiking"))
    return small(variant, policy_kwargs=POISSON)


def state(policy):
    return {name: value.clone() for name, value in policy.state_dict().items()}


def changed(before, policy):
    return [name for name, value in policy.state_dict().items() if not value.equal(before[name])]


def counts(network):
    return [numbers.count.item() for numbers in random_numbers(network)]


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gradient_step_moves_every_draw(variant):
    agent = made(variant).learn(20)
    targets = [getattr(agent, f"{name}_target", None) for name in ("actor", "critic", "q_net")]
    before = {id(network): counts(network) for network in targets if network is not None}
    agent.train(gradient_steps=6, batch_size=8)
    # TD3's actor learns in every second step.
    updates = 3 if variant.startswith("td3") else 6
    first = 16
    after = {name: counts(part) for name, part in agent.parts().items()}
    learned = {name: agent._n_updates for name in after}
    learned |= {"actor": agent._n_updates // 2} if updates == 3 else {}
    assert after == {name: [learned[name]] * len(after[name]) for name in after}
    for network in targets:
        if network is not None:
            assert counts(network) == [count + 6 for count in before[id(network)]]
    assert agent._n_updates == 20 - first + 6


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3-spiking", "sac-spiking", "dqn", "ppo"])
def test_what_does_not_learn_moves_nothing_and_repeats_itself(variant):
    agent = made(variant).learn(32)
    before = state(agent.policy)
    rng = np.random.default_rng(0)
    size = agent.observation_space.shape[0]
    observations = rng.uniform(-1, 1, (20, size)).astype(np.float32)

    def decided():
        return agent.predict(observations, deterministic=True)[0]

    actions = decided()
    alone = np.stack([agent.predict(row, deterministic=True)[0] for row in observations])
    np.testing.assert_allclose(alone, actions, rtol=1e-5)
    agent.predict(observations)
    agent.record(observations)
    for name in agent.parts():
        agent.activity(name, agent.sample_inputs(name, 8, rng))
    returns = [evaluate_policy(agent, task(variant), n_eval_episodes=2, warn=False)]
    returns += [evaluate_policy(agent, task(variant), n_eval_episodes=2, warn=False)]
    assert np.array_equal(decided(), actions)
    assert changed(before, agent.policy) == []
    agent.recalibrate()
    moved = changed(before, agent.policy)
    assert all("moving" in name for name in moved)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["sac-spiking", "ppo"])
def test_draws_are_saved(variant, tmp_path):
    agent = made(variant).learn(32)
    agent.save(tmp_path / "agent")
    kind = PPO if variant == "ppo" else ALGORITHMS[variant.partition("-")[0]]
    loaded = kind.load(tmp_path / "agent", device="cpu")
    assert [n.key for n in random_numbers(loaded.policy)] == [
        n.key for n in random_numbers(agent.policy)
    ]
    assert counts(loaded.policy) == counts(agent.policy)
    assert max(counts(agent.policy)) > 0
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 2)).astype(np.float32)
    acted = [each.predict(observations, deterministic=True)[0] for each in (agent, loaded)]
    assert np.array_equal(*acted)


def test_an_agents_seed_decides_the_draws():
    keys = [
        [numbers.key.item() for numbers in random_numbers(small(seed=seed, **kwargs).policy)]
        for seed, kwargs in ((5, {}), (5, {}), (6, {}))
        for kwargs in [dict(variant="sac-spiking", policy_kwargs=POISSON)]
    ]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
    # Two critics draw apart; a target starts as a copy.
    assert len(set(keys[0])) == 3


def test_a_transition_that_is_replayed_gets_other_draws_of_the_target():
    agent = made("dqn").learn(20)
    observations = torch.rand(4, 3)
    target = agent.q_net_target
    first = target(observations)
    assert torch.equal(target(observations), first)
    agent.train(gradient_steps=1, batch_size=8)
    assert not torch.equal(target(observations), first)


def test_a_copy_of_an_agent_draws_on_as_it_does():
    agent = made("sac-spiking").learn(32)
    other = copy.deepcopy(agent)
    for each in (agent, other):
        torch.manual_seed(0)
        np.random.seed(0)
        each.train(gradient_steps=3, batch_size=8)
    assert changed(state(agent.policy), other.policy) == []
    assert min(counts(agent.policy)) > 3
