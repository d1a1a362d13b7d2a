"""Adam is fused for our policies, and computes what the one of Stable-Baselines3 does."""

from copy import deepcopy

import pytest
import torch

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3
from snnrl.agents.updates.optimizers import can_be_captured, prepare_adam, set_learning_rate
from tests.agents.helpers import task
from tests.agents.test_stock_equality import PAIRS, build

ALGORITHMS = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "dqn": DQN, "ppo": PPO}


def make(algo, policy, **optimizer_kwargs):
    policy_kwargs = dict(net_arch=[4])
    if optimizer_kwargs:
        policy_kwargs["optimizer_kwargs"] = optimizer_kwargs
    return ALGORITHMS[algo](policy, task(algo), policy_kwargs=policy_kwargs, device="cpu")


def groups(agent):
    return [group for optimizer in agent._optimizers() for group in optimizer.param_groups]


@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_ours_are_fused(algo, policy):
    count = {"td3": 2, "ddpg": 2, "sac": 3, "dqn": 1, "ppo": 1}[algo]
    options = [(g["fused"], g["foreach"], g["capturable"]) for g in groups(make(algo, policy))]
    assert options == [(True, None, False)] * count


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_those_of_sb3_stay_as_they_are(algo):
    assert {g["fused"] for g in groups(make(algo, "MlpPolicy"))} == {None}


@pytest.mark.parametrize("given", [dict(fused=False), dict(foreach=True), dict(foreach=False)])
@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_what_the_user_gave_stays(algo, given):
    agent = make(algo, "SpikingPolicy", **given)
    assert not any(group["fused"] for group in groups(agent))


@pytest.mark.parametrize("algo", ["td3", "sac", "dqn"])
def test_gradient_steps_with_fused_adam_are_those_of_sb3_but_for_rounding(algo):
    """From one state, on fixed minibatches."""
    ours, stock = (
        build(
            algorithm, policy, learning_starts=10_000, policy_kwargs=dict(net_arch=[12, 8])
        ).learn(100)
        for algorithm, policy in zip(PAIRS[algo], ("AnnPolicy", "MlpPolicy"), strict=True)
    )
    assert {group["fused"] for group in groups(ours)} == {True}
    start = deepcopy(ours.policy.state_dict())
    for agent in (ours, stock):
        agent.set_random_seed(11)
        agent.train(gradient_steps=20, batch_size=32)
    theirs = stock.policy.state_dict()
    moved = 0
    for name, value in ours.policy.state_dict().items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6)
        moved += not torch.allclose(value, start[name], rtol=1e-5, atol=1e-6)
    assert moved > 0.4 * len(theirs)


def adam(**options):
    return torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=1e-3, **options)


def test_capturable_needs_fused_and_a_learning_rate_on_the_device():
    optimizer = adam()
    assert not can_be_captured(optimizer)
    prepare_adam(optimizer, {}, capturable=True)
    assert can_be_captured(optimizer)
    (group,) = optimizer.param_groups
    rate = group["lr"]
    set_learning_rate(optimizer, 0.5)
    assert group["lr"] is rate
    assert rate.item() == 0.5


def test_others_are_left_alone():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1e-3)
    before = dict(optimizer.param_groups[0])
    prepare_adam(optimizer, {}, capturable=True)
    assert all(optimizer.param_groups[0][key] is value for key, value in before.items())
    assert not can_be_captured(optimizer)
    set_learning_rate(optimizer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("saved_capturable", [True, False])
@pytest.mark.parametrize("capturable", [True, False])
def test_a_loaded_state_is_computed_on_as_here(saved_capturable, capturable):
    saved, here = adam(), adam()
    prepare_adam(saved, {}, capturable=saved_capturable)
    prepare_adam(here, {}, capturable=capturable)
    set_learning_rate(saved, 0.25)
    (weight,) = saved.param_groups[0]["params"]
    weight.sum().backward()
    saved.step()
    state = saved.state_dict()
    before = deepcopy(state)
    here.load_state_dict(state)
    (group,) = here.param_groups
    assert (group["fused"], group["capturable"]) == (True, capturable)
    assert isinstance(group["lr"], torch.Tensor) == capturable
    assert float(group["lr"]) == 0.25
    assert torch.equal(here.state[group["params"][0]]["exp_avg"], saved.state[weight]["exp_avg"])
    assert state["param_groups"] == before["param_groups"]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_optimisers_of_a_copy_compute_as_the_first_ones(algo):
    """Whatever the state that they load was computed with."""
    other = make(algo, "SpikingPolicy", foreach=True).get_parameters()
    copy = deepcopy(deepcopy(make(algo, "SpikingPolicy")))
    copy.set_parameters(other)
    assert {group["fused"] for group in groups(copy)} == {True}
    assert {group["foreach"] for group in groups(copy)} == {None}


def test_a_copy_of_an_agent_of_sb3s_policy_stays_as_it_is():
    copy = deepcopy(make("td3", "MlpPolicy"))
    copy.set_parameters(make("td3", "MlpPolicy", foreach=True).get_parameters())
    assert {group["foreach"] for group in groups(copy)} == {True}


def test_a_state_saved_unfused_is_loaded():
    saved, here = adam(), adam()
    prepare_adam(here, {}, capturable=False)
    (weight,) = saved.param_groups[0]["params"]
    weight.sum().backward()
    saved.step()
    here.load_state_dict(saved.state_dict())
    assert here.param_groups[0]["fused"] is True
    here.param_groups[0]["params"][0].sum().backward()
    here.step()
