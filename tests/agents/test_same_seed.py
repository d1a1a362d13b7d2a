"""What one seed fixes: everything within a strategy, all that is drawn between strategies."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.noise import NormalActionNoise

from snnrl.agents.buffers import ReplayBuffer

from .helpers import ALGORITHMS, assert_equal_states, small

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


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_two_runs_are_bit_identical(algo):
    def run(seed):
        bn = dict(name="carebn", **OFTEN)
        return small(algo, policy_kwargs=dict(bn=bn), seed=seed, action_noise=RecordedNoise())

    one, other, another_seed = (run(seed).learn(60) for seed in (5, 5, 6))
    assert_equal_states(one.policy, other.policy)
    for name in ("observations", "actions", "rewards"):
        a, b, c = (getattr(x.replay_buffer, name)[:60] for x in (one, other, another_seed))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    weights = [agent.actor.network.layers[0].linear.weight for agent in (one, another_seed)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("name", ["none", "vanilla", "ca_only", "re_only"])
def test_strategies_draw_the_same(algo, name, indices):
    def run(bn):
        indices.clear()
        noise = RecordedNoise()
        agent = small(algo, policy_kwargs=dict(bn=bn), action_noise=noise)
        start = {key: value.clone() for key, value in agent.policy.named_parameters()}
        agent.learn(60)
        generators = np.random.get_state()[1], torch.get_rng_state()
        return start, np.stack(indices), np.stack(noise.drawn), generators, agent

    start, rows, noise, generators, agent = run(dict(name="carebn", **OFTEN))
    bn = dict(name=name, **OFTEN) if name == "re_only" else name
    other_start, other_rows, other_noise, other_generators, other_agent = run(bn)

    for key, value in other_start.items():
        assert torch.equal(start[key], value), key
    assert len(rows) == 44
    assert np.array_equal(rows, other_rows)
    assert np.array_equal(noise, other_noise)
    assert np.array_equal(generators[0], other_generators[0])
    assert torch.equal(generators[1], other_generators[1])
    # They are different strategies all the same.
    ours, theirs = (a.actor.network.decoder.weight for a in (agent, other_agent))
    assert not torch.equal(ours, theirs)
