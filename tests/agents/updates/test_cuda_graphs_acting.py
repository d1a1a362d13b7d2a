"""Captured decisions are those of the networks as they are now: on a tape, on a CPU."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from snnrl.agents import TD3
from snnrl.agents.off_policy import ReplayAgent
from snnrl.agents.policies.modes import QuickModes
from snnrl.agents.updates.cuda_graphs import EAGER_STEPS
from tests.agents.helpers import VARIANTS, small, task
from tests.agents.updates.tape import TapeRecorder, WaitsForTheDevice


@pytest.fixture(autouse=True)
def tapes(monkeypatch):
    """Agents capture as they do on CUDA."""
    monkeypatch.setattr(ReplayAgent, "_recorder", lambda self: TapeRecorder())


def build(variant, captured=True):
    agent = small(variant, learning_starts=10_000).learn(40)
    if not captured:
        agent.captured = None
    return agent


def decisions(agent, deterministic, seed=3):
    """One at a time, then four at once; the generators as they would be anew."""
    space = agent.observation_space
    observations = np.random.default_rng(seed).normal(size=(8, *space.shape)).astype(space.dtype)
    agent.set_random_seed(seed)
    alone = [agent.predict(one, deterministic=deterministic)[0] for one in observations]
    together = [agent.predict(observations[:4], deterministic=deterministic)[0] for _ in range(5)]
    return np.concatenate([np.stack(alone), *together])


def events(agent):
    return agent.acting._recorder.events


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_decisions_while_the_networks_learn(variant, deterministic):
    agents = [build(variant, captured) for captured in (True, False)]
    rounds = []
    for number in range(3):
        made = [decisions(agent, deterministic) for agent in agents]
        np.testing.assert_array_equal(*made)
        rounds.append(made[0])
        for agent in agents:
            agent.set_random_seed(number)
            agent.train(6, 16)
            agent.recalibrate()
    assert not np.array_equal(rounds[0], rounds[2])
    assert events(agents[0]).count("capture") == 2
    # Some decisions of DQN are random.
    assert events(agents[0]).count("replay") >= 3 * (8 + 5) // 2 - 2 * EAGER_STEPS


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "sac", "dqn"])
def test_decisions_of_parameters_that_are_set_and_of_copies(variant):
    agent = build(variant)
    decisions(agent, True)
    start = deepcopy(agent.get_parameters())
    copy = deepcopy(agent)
    before = decisions(copy, True)
    agent.train(20, 16)
    np.testing.assert_array_equal(decisions(copy, True), before)
    assert copy.acting._recorder is not agent.acting._recorder
    agent.set_parameters(start)
    np.testing.assert_array_equal(decisions(agent, True), before)


def test_without_capture_nothing_is_recorded():
    agent = build("td3", captured=False)
    decisions(agent, True)
    assert "capture" not in events(agent)


@pytest.mark.parametrize("variant", ["td3", "sac", "dqn"])
def test_each_call_gives_an_array_of_its_own(variant):
    agent = build(variant)
    observation = np.zeros(agent.observation_space.shape, np.float32)
    kept = [agent.predict(observation, deterministic=True)[0] for _ in range(8)]
    before = deepcopy(kept)
    for action in kept:
        action += 1
    for action, value in zip(kept, before, strict=True):
        np.testing.assert_array_equal(action, value + 1)


@pytest.mark.parametrize("wrong", [np.zeros((3, 3, 3), np.float32), np.zeros(77, np.float32)])
def test_what_is_refused_leaves_the_policy_as_it_was(wrong):
    agent = build("td3")
    with pytest.raises(ValueError, match="shape"):
        agent.predict(wrong)
    assert agent.policy.decide is None
    agent.policy._predict(torch.zeros(1, *agent.observation_space.shape))
    assert events(agent).count("run") <= EAGER_STEPS


def test_ordinary_policies_of_sb3_act_as_before():
    agent = TD3("MlpPolicy", task("td3"), policy_kwargs=dict(net_arch=[8]), device="cpu")
    assert not isinstance(agent.policy, QuickModes)
    agent.predict(np.zeros(agent.observation_space.shape, np.float32))


def test_a_decision_that_waits_for_the_device_is_not_hidden(monkeypatch):
    """SAC's distribution is not checked while it acts, as that waits."""
    agent = build("sac")
    usual = type(agent.actor).forward

    def waits(actor, observations, deterministic=True):
        actions = usual(actor, observations, deterministic)
        assert not actions.isnan().any()
        return actions

    monkeypatch.setattr(type(agent.actor), "forward", waits)
    with pytest.raises(WaitsForTheDevice):
        decisions(agent, True)
