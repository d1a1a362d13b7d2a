"""A parameter with a learning rate of its own keeps it, whatever the weights' does."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnrl.agents.updates.optimizers import (
    OWN_RATE,
    prepare_adam,
    separate_rates,
    set_learning_rate,
)
from snnrl.errors import UserError
from snnrl.nn.learning_rates import OwnLearningRates, own_learning_rates
from snnrl.nn.surrogates.learnable import LearnableSurrogate
from tests.agents.helpers import assert_equal_states, small
from tests.agents.ppo_helpers import small_ppo

SPIKING = ["td3-spiking", "ddpg-spiking", "sac-spiking", "dqn", "ppo"]


def agent_of(variant: str, neuron: Any = "plif", **arguments: Any) -> Any:
    kwargs = dict(neuron=neuron)
    if variant == "ppo":
        critic = dict(name="spiking", time_steps=3)
        return small_ppo(policy_kwargs=dict(critic=critic, **kwargs), **arguments)
    return small(variant, policy_kwargs=kwargs, **arguments)


def decays(agent: Any) -> list[Tensor]:
    return [
        p for part in agent.parts().values() for n, p in part.named_parameters() if n[-2:] == ".w"
    ]


def rates_of(agent: Any) -> dict[Tensor, float]:
    """The learning rate of every parameter that is learned."""
    groups = [g for optimizer in agent._optimizers() for g in optimizer.param_groups]
    found = {p: float(group["lr"]) for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)
    return found


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", SPIKING)
def test_it_is_kept_while_the_weights_learn_by_a_schedule(variant: str) -> None:
    agent = agent_of(variant, learning_rate=lambda progress: 1e-3 * progress + 1e-5)
    before = [w.clone() for w in decays(agent)]
    assert len(before) >= 2
    agent.learn(64)
    seen = rates_of(agent)
    own = decays(agent)
    assert {seen[w] for w in own} == {1e-4}
    others = {rate for p, rate in seen.items() if not any(p is w for w in own)}
    assert len(others) == 1 and not others & {1e-4, 1e-3}
    # Adam's first steps have the size of the learning rate.
    moved = [(w - b).abs().item() for w, b in zip(own, before, strict=True)]
    assert all(0 < distance < 64 * 3e-4 for distance in moved)
    assert agent.logger.name_to_value["train/learning_rate"] in others


@pytest.mark.parametrize("variant", SPIKING)
def test_every_parameter_is_in_one_group(variant: str) -> None:
    """As many as without rates of their own, with the same options."""
    agent, other = agent_of(variant), agent_of(variant, dict(name="plif", learning_rate=None))
    assert len(rates_of(agent)) == len(rates_of(other))
    for optimizer in agent._optimizers():
        first, *own = optimizer.param_groups
        for group in own:
            differ = {key for key in group if group[key] != first.get(key)}
            # The rate of DQN's weights is the same number.
            assert differ | {"lr"} == {"params", "lr", OWN_RATE}
    assert all(len(optimizer.param_groups) == 1 for optimizer in other._optimizers())


def test_null_is_the_rate_of_the_weights() -> None:
    agent = agent_of("td3", dict(name="plif", learning_rate=None), learning_rate=0.01)
    agent.learn(40)
    assert set(rates_of(agent).values()) == {0.01}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", SPIKING)
def test_a_saved_agent_continues_as_if_it_had_not_been(variant: str, tmp_path: Path) -> None:
    agent = agent_of(variant)
    agent.learn(64)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent", env=agent.get_env())
    for one, other in zip(agent._optimizers(), again._optimizers(), strict=True):
        assert len(one.param_groups) == len(other.param_groups)
        for ours, theirs in zip(one.param_groups, other.param_groups, strict=True):
            assert ours.get(OWN_RATE) == theirs.get(OWN_RATE)
            for p, q in zip(ours["params"], theirs["params"], strict=True):
                assert torch.equal(p, q)
                assert torch.equal(one.state[p]["exp_avg_sq"], other.state[q]["exp_avg_sq"])
    copies = [again, deepcopy(again)]
    for each in copies:
        set_learning_rate(each._optimizer, 0.5)
        w = next(p for g in each._optimizer.param_groups for p in g["params"] if p.dim() == 0)
        assert rates_of(each)[w] == pytest.approx(1e-4)


def test_parameters_of_an_agent_with_another_rate_do_not_bring_it() -> None:
    agent, other = agent_of("td3"), agent_of("td3", dict(name="plif", learning_rate=0.1))
    agent.set_parameters(other.get_parameters())
    agent.learn(40)
    assert {rates_of(agent)[w] for w in decays(agent)} == {1e-4}


def test_parameters_of_an_agent_without_one_are_refused() -> None:
    agent, other = agent_of("td3"), agent_of("td3", dict(name="plif", learning_rate=None))
    with pytest.raises(UserError, match=r"^optimiser: has 2 groups .* state 1; expected"):
        agent.set_parameters(other.get_parameters())


def test_targets_follow_the_decays() -> None:
    agent = agent_of("td3", dict(name="plif", learning_rate=0.05), learning_starts=5)
    agent.learn(40)
    (ours, *_), theirs = decays(agent), agent.actor_target.network.layers[0].neuron.w
    start = torch.tensor(1.0986123)
    assert 0 < (theirs - start).abs() < (ours - start).abs()


class OwnSlopes(OwnLearningRates, LearnableSurrogate):
    """Not only neurons can say so."""

    def learning_rates(self) -> dict[str, float]:
        return {"weight": 0.2}


def test_any_module_can_have_one() -> None:
    agent = small("td3", policy_kwargs=dict(neuron="plif", surrogate=OwnSlopes))
    agent.learn(40)
    rates = [[float(g["lr"]) for g in o.param_groups] for o in agent._optimizers()]
    assert [sorted(each) for each in rates] == [[1e-4, 1e-3, 0.2], [1e-3]]
    assert len(own_learning_rates(agent.actor)) == 6


def test_stock_networks_have_none() -> None:
    agent = small("td3", policy_kwargs=dict(neuron="lif"))
    before = [dict(g) for o in agent._optimizers() for g in o.param_groups]
    for optimizer in agent._optimizers():
        separate_rates(optimizer, own_learning_rates(agent.policy))
    after = [g for o in agent._optimizers() for g in o.param_groups]
    assert [g.keys() for g in after] == [g.keys() for g in before]
    assert not any(OWN_RATE in group for group in after)


def test_in_a_captured_step_the_rate_is_a_tensor_of_its_own() -> None:
    weight, own = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.Adam([weight, own], lr=1e-3)
    separate_rates(optimizer, {own: 1e-4})
    prepare_adam(optimizer, {}, capturable=True)
    set_learning_rate(optimizer, 0.5)
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert first is not second
    assert (first.item(), second.item()) == (0.5, pytest.approx(1e-4))


def test_two_runs_are_bit_identical() -> None:
    one, other = (agent_of("td3").learn(40) for _ in range(2))
    assert_equal_states(one.policy, other.policy)


def test_a_group_of_which_all_have_their_own_is_left_out() -> None:
    one, other, third = (nn.Parameter(torch.ones(1)) for _ in range(3))
    optimizer = torch.optim.Adam([{"params": [one, other]}, {"params": [third]}], lr=1.0)
    for _ in range(2):  # The second time changes nothing.
        separate_rates(optimizer, {one: 0.1, other: 0.2})
        found = [(group["params"], group["lr"]) for group in optimizer.param_groups]
        assert found == [([third], 1.0), ([one], 0.1), ([other], 0.2)]
