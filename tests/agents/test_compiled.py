"""Compiled networks inside agents compute what the naive ones do."""

import pytest
import torch

from snnrl.nn import networks
from tests.envs import MatchImage

from .helpers import small

CONV = dict(channels=[3], kernels=[4], strides=[2])


# Adam would blow up the rounding error that is the gradient of a bias in front of a
# normalisation.
COMMON = dict(net_arch=[8], time_steps=2, optimizer_class=torch.optim.SGD)


def spiking_critic(kernel):
    critic = dict(name="spiking", time_steps=2)
    policy_kwargs = COMMON | dict(kernel=kernel, actor="ann", critic=critic, n_critics=1)
    return small(policy_kwargs=policy_kwargs, learning_starts=1_000, learning_rate=0.1)


def convolutions(kernel):
    policy_kwargs = COMMON | dict(kernel=kernel, conv=CONV)
    return small(
        "dqn", MatchImage(), policy_kwargs=policy_kwargs, learning_starts=1_000, learning_rate=0.1
    )


@pytest.fixture
def compiled_passes(monkeypatch):
    """Counts compiled forward passes, without compiling."""
    passes = []

    def compiled(network, x):
        passes.append(network)
        return networks._eager_pass(network, x)

    monkeypatch.setattr(networks, "_compiled_pass", lambda: compiled)
    return passes


@pytest.mark.parametrize("build", [spiking_critic, convolutions])
def test_what_runs_compiled(build, compiled_passes):
    agent = build("compile").learn(20)
    assert agent.kernel == "compile"
    assert build("naive").kernel == build("auto").kernel == "naive"
    compiled_passes.clear()
    agent.train(2, 16)
    # Each step: the target's pass and the loss's, and TD3's one of two actor updates.
    assert len(compiled_passes) == 2 * 2 + (build is spiking_critic)
    compiled_passes.clear()
    agent.recalibrate()
    assert compiled_passes == []


@pytest.mark.slow
@pytest.mark.parametrize("build", [spiking_critic, convolutions])
def test_gradient_steps(build):
    naive, compiled = build("naive").learn(30), build("compile").learn(30)
    start = {name: value.clone() for name, value in naive.policy.state_dict().items()}
    for agent in (naive, compiled):
        agent.set_random_seed(5)
        agent.train(3, 16)
    state = compiled.policy.state_dict()
    for name, value in naive.policy.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4, msg=name)
    moved = [name for name in state if (state[name] - start[name]).abs().max() > 1e-3]
    assert any(name.endswith("layers.0.linear.weight") for name in moved)
