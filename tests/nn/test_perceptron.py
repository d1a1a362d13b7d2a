"""Ordinary networks as one native operator: torch's own bits, hooks included."""

import copy
from collections import OrderedDict
from itertools import pairwise
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor, nn

from snnrl.agents import TD3
from snnrl.nn.perceptron import Perceptron, fuse_perceptrons


def stack(*sizes: int, last: bool = False, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(3)
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        modules += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    return nn.Sequential(*(modules if last else modules[:-1]))


def fused(network: nn.Sequential) -> nn.Sequential:
    network = copy.deepcopy(network)
    fuse_perceptrons(network)
    assert type(network) is Perceptron
    return network


def gradients(network: nn.Module, x: Tensor, by: Tensor) -> list[Tensor | None]:
    network.zero_grad()
    x = x.clone().requires_grad_()
    values = network(x)
    values.backward(by)
    return [values.detach(), x.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("batch", [1, 100, 300])
@pytest.mark.parametrize(
    "network",
    [stack(23, 400, 300, 1), stack(5, 8, last=True), stack(7, 3, bias=False), stack(4, 1)],
)
def test_computes_what_torch_does(network: nn.Sequential, batch: int) -> None:
    last = [module for module in network if isinstance(module, nn.Linear)][-1]
    x, by = torch.randn(batch, network[0].in_features), torch.randn(batch, last.out_features)  # type: ignore[arg-type]
    expected, found = gradients(network, x, by), gradients(fused(network), x, by)
    for before, after in zip(expected, found, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_frozen_weights_get_no_gradients() -> None:
    network = fused(stack(6, 5, 2))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(9, 6, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None and x.grad.any()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_is_not_a_number_stays_so() -> None:
    network = fused(stack(2, 3, 1))
    x = torch.tensor([[float("nan"), 1.0], [1.0, 2.0]])
    assert network(x).isnan().tolist() == [[True], [False]]


def test_hooks_are_called() -> None:
    network, called = fused(stack(2, 3, 1)), list[Any]()
    x = torch.randn(4, 2)
    before = network(x)
    handle = network[1].register_forward_hook(lambda *_: called.append(1))
    torch.testing.assert_close(network(x), before)
    assert called == [1]
    handle.remove()
    network(x)
    assert called == [1]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("arranged", ["transposed", "expanded", "whole"])
def test_gradients_in_any_order_of_memory(arranged: str, last: bool) -> None:
    network, x = stack(5, 4, 3, last=last), torch.randn(6, 5)
    by = {
        "transposed": torch.randn(3, 6).t(),
        "expanded": torch.randn(1, 3).expand(6, 3),
        "whole": torch.randn(6, 3),
    }[arranged]
    before = by.clone()
    expected, found = gradients(network, x, by), gradients(fused(network), x, by)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
    assert torch.equal(by, before)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def put_last(network: nn.Sequential, module: nn.Module) -> None:
    network.append(module)


def put_first(network: nn.Sequential, module: nn.Module) -> None:
    network[0] = module


def put_between(network: nn.Sequential, module: nn.Module) -> None:
    network[1] = module


@pytest.mark.parametrize(
    ("put", "module"),
    [
        (put_last, nn.Tanh()),
        (put_last, nn.Linear(1, 4)),
        (put_first, nn.Linear(2, 3)),
        (put_first, Doubled(2, 3)),
        (put_between, nn.Tanh()),
        (put_between, nn.Identity()),
    ],
)
def test_modules_put_in_later_are_called(put: Any, module: nn.Module) -> None:
    network, x = stack(2, 3, 1), torch.randn(4, 2)
    other = fused(network)
    other(x)
    for each in (network, other):
        put(each, module)
    assert torch.equal(other(x), network(x))


@pytest.mark.parametrize("width", [1, 3])
def test_widths_that_do_not_fit(width: int) -> None:
    """torch says so; and where a map is replaced by one of another width."""
    network = fused(stack(2, 3, 1))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(torch.randn(300, width))
    network[0] = nn.Linear(2, 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(torch.randn(300, 2))


def test_outputs_may_be_changed() -> None:
    network, other = stack(2, 3, 1), fused(stack(2, 3, 1))
    x = torch.randn(4, 2)
    for each in (network, other):
        each(x).mul_(2).sum().backward()
    assert torch.equal(other[0].weight.grad, network[0].weight.grad)  # type: ignore[union-attr]


def test_autocast_is_torchs() -> None:
    network = stack(2, 3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fused(network)(torch.randn(4, 2)).dtype == torch.bfloat16


def test_nothing_else_of_a_stack_changes() -> None:
    named = nn.Sequential(OrderedDict(map=nn.Linear(2, 3), active=nn.ReLU()))
    parent = nn.ModuleDict({"one": named, "two": named})
    called: list[int] = []
    named.register_forward_hook(lambda *_: called.append(1))
    named.eval()
    names = list(parent.state_dict())
    fuse_perceptrons(parent)
    assert parent["one"] is parent["two"] is named and type(named) is Perceptron
    assert list(parent.state_dict()) == names and not named.training
    named(torch.randn(1, 2))
    assert called == [1]


@pytest.mark.parametrize(
    "x", [torch.randn(3, 2, dtype=torch.float64), torch.randn(2), torch.randn(5, 3, 2)]
)
def test_other_inputs_are_left_to_torch(x: Tensor) -> None:
    network = stack(2, 3, 1).to(x.dtype)
    torch.testing.assert_close(fused(network)(x), network(x), rtol=0, atol=0)


def test_no_second_derivatives() -> None:
    x = torch.randn(4, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(fused(stack(2, 3, 1))(x).sum(), x, create_graph=True)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(),
        nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
        nn.Sequential(nn.ReLU(), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.ReLU()),
        nn.Linear(2, 2),
    ],
)
def test_other_networks_stay(other: nn.Module) -> None:
    parent = nn.ModuleDict({"part": other})
    fuse_perceptrons(parent)
    assert parent["part"] is other


def test_the_critics_of_an_agent_are() -> None:
    """With the native kernel alone, and with the same names of weights."""
    env = gymnasium.make("Pendulum-v1")
    agents = [
        TD3("SpikingPolicy", env, seed=0, policy_kwargs={"kernel": kernel, "net_arch": [8]})
        for kernel in ("native", "naive")
    ]
    native, naive = (agent.policy for agent in agents)
    assert list(native.state_dict()) == list(naive.state_dict())
    for critic in (native.critic, native.critic_target):
        assert [type(part) for part in critic.q_networks] == [Perceptron, Perceptron]
        assert critic.q_networks[0] is critic.qf0
    assert type(naive.critic.qf0) is nn.Sequential
    assert type(copy.deepcopy(native).critic.q_networks[1]) is Perceptron
