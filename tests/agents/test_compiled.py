"""Compiled and fused networks inside agents compute what the naive ones do."""

import numpy as np
import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn import networks
from tests.envs import MatchImage

from .helpers import decisions, small

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

    def compiled(network_pass):
        def counted(network, x):
            passes.append(network)
            return network_pass(network, x)

        return counted

    monkeypatch.setattr(networks, "_compiled", compiled)
    return passes


@pytest.mark.parametrize("build", [spiking_critic, convolutions])
def test_what_runs_compiled(build, compiled_passes):
    agent = build("compile").learn(20)
    assert agent.kernel == "compile"
    assert build("naive").kernel == "naive"
    assert build("auto").kernel == "native"
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


def test_a_kernel_of_another_device_is_refused_when_the_agent_is_made():
    with pytest.raises(UserError, match=r"^kernel=triton: needs a CUDA device"):
        small(policy_kwargs=dict(kernel="triton"))


def test_what_runs_is_said_once(capsys):
    small(policy_kwargs=dict(kernel="auto"), verbose=1)
    assert capsys.readouterr().out.count("Using kernel native") == 1


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("kernel", ["native", pytest.param("compile", marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn"])
def test_two_hundred_steps_of_a_run(variant, kernel):
    """The same episodes and the same weights, but for rounding."""

    def run(kernel):
        policy_kwargs = dict(kernel=kernel, optimizer_class=torch.optim.SGD)
        agent = small(variant, policy_kwargs=policy_kwargs, learning_rate=0.03)
        start = {name: value.clone() for name, value in agent.policy.state_dict().items()}
        agent.learn(16 + 200)
        assert agent.kernel == kernel
        assert agent._n_updates == 200
        state = agent.policy.state_dict()
        assert max((state[name] - start[name]).abs().max() for name in state) > 0.1
        return state, decisions(agent.policy), agent.replay_buffer

    state, decided, buffer = run("naive")
    own_state, own_decided, own_buffer = run(kernel)
    torch.testing.assert_close(own_decided, decided, rtol=1e-4, atol=1e-5)
    for name, value in state.items():
        if ".update." in name:  # a gain is a quotient of differences, so of rounding errors too
            continue
        torch.testing.assert_close(own_state[name], value, rtol=1e-3, atol=1e-5, msg=name)
    np.testing.assert_allclose(own_buffer.actions, buffer.actions, rtol=1e-4, atol=1e-5)
