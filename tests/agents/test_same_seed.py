"""What one seed fixes: everything within a strategy, all that is drawn between strategies."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.noise import NormalActionNoise

from snnrl.agents.replay.buffer import ReplayBuffer

from .helpers import VARIANTS, assert_equal_states, small

OFTEN = dict(recalibrate_every=10, recalibrate_batches=3)


class RecordedNoise(NormalActionNoise):
    def __init__(self):
        super().__init__(np.zeros(2), np.full(2, 0.1))
        self.drawn = []

    def __call__(self):
        self.drawn.append(super().__call__())
        return self.drawn[-1]


@pytest.fixture
def indices(monkeypatch):
    """Rows of each minibatch that was sampled."""
    drawn, get_samples = [], ReplayBuffer._get_samples

    def recorded(self, batch_inds, env=None):
        drawn.append(batch_inds.copy())
        return get_samples(self, batch_inds, env)

    monkeypatch.setattr(ReplayBuffer, "_get_samples", recorded)
    return drawn


def build(variant, bn, noise, **arguments):
    """DQN explores by chance instead of by noise."""
    explore = dict(exploration_fraction=1.0) if variant == "dqn" else dict(action_noise=noise)
    return small(variant, policy_kwargs=dict(bn=bn), **explore, **arguments)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_runs_are_bit_identical(variant):
    def run(seed):
        bn = dict(name="carebn", **OFTEN)
        return build(variant, bn, RecordedNoise(), seed=seed).learn(40)

    one, other, another_seed = (run(seed) for seed in (5, 5, 6))
    assert_equal_states(one.policy, other.policy)
    for name in ("observations", "actions", "rewards"):
        a, b, c = (getattr(x.replay_buffer, name)[:40] for x in (one, other, another_seed))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    states = [agent.policy.state_dict() for agent in (one, another_seed)]
    weights = [name for name in states[0] if name.endswith("linear.weight")]
    assert weights
    assert not any(torch.equal(states[0][name], states[1][name]) for name in weights)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_strategies_draw_the_same(variant, indices):
    def run(bn):
        indices.clear()
        noise = RecordedNoise()
        agent = build(variant, bn, noise)
        start = {key: value.clone() for key, value in agent.policy.named_parameters()}
        agent.learn(40)
        state = agent.action_space.np_random.bit_generator.state
        generators = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), state
        return start, np.stack(indices), np.array(noise.drawn), generators, agent

    start, rows, noise, generators, agent = run(dict(name="carebn", **OFTEN))
    assert len(rows) == 24
    assert agent.recalibrated_at == {name: 40 for name in agent.parts()}
    for name in ("none", "vanilla", "ca_only", "re_only"):
        bn = dict(name=name, **OFTEN) if name == "re_only" else name
        other_start, other_rows, other_noise, other_generators, other_agent = run(bn)
        for key, value in other_start.items():
            assert torch.equal(start[key], value), (name, key)
        assert np.array_equal(rows, other_rows), name
        assert np.array_equal(noise, other_noise), name
        assert generators == other_generators, name
        # They are different strategies all the same.
        for part in agent.parts():
            ours, theirs = (dict(a.parts()[part].named_parameters()) for a in (agent, other_agent))
            differ = [key for key, value in theirs.items() if not torch.equal(ours[key], value)]
            assert differ, (name, part)
