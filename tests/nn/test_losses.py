"""Terms that are added to a loss."""

from __future__ import annotations

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.losses import LossTerm, Pass, watched
from snnrl.nn.registry import build
from snnrl.nn.traces import Trace

from .networks import observations, tiny
from .parts import NEURONS


def test_a_rate_by_hand() -> None:
    term = build("loss", dict(name="rate", weight=0.5, target=0.25))
    seen = Pass({"a": torch.tensor([0.25, 0.75]), "b": torch.tensor([0.0])}, {})
    # 0.5 * mean(mean(0, 0.5^2), 0.25^2)
    assert term(seen).item() == pytest.approx(0.5 * (0.125 + 0.0625) / 2)


def test_a_rate_above_the_target_by_hand() -> None:
    term = build("loss", dict(name="rate", weight=0.5, target=0.25, side="above"))
    rates = torch.tensor([0.75, 0.05, 0.25], requires_grad=True)
    value = term(Pass({"a": rates, "b": torch.tensor([0.0])}, {}))
    # 0.5 * mean(mean(0.5^2, 0, 0), 0)
    assert value.item() == pytest.approx(0.5 * (0.25 / 3) / 2)
    value.backward()
    assert rates.grad[0] > 0 and rates.grad[1:].abs().max() == 0


def trace_of(membranes: torch.Tensor) -> Trace:
    return Trace(*[membranes] * len(Trace._fields))


def test_a_balance_by_hand() -> None:
    term = build("loss", dict(name="balance", weight=0.5))
    # Two steps, three samples, two neurons.
    one = torch.tensor([[[1.0, -1.0]] * 3, [[3.0, -1.0]] * 3])
    # One sign only; an image, whose places are averaged too.
    other = -torch.rand(1, 2, 3, 4, 4) - 0.1
    value = term(Pass({}, {"a": trace_of(one), "b": trace_of(other)}))
    # 0.5 * mean(mean(0, (1 / 2)^2), 1)
    assert value.item() == pytest.approx(0.5 * (0.125 + 1) / 2, rel=1e-4)
    for factor in (1e-3, 1e3):
        scaled = term(Pass({}, {"a": trace_of(one * factor), "b": trace_of(other)}))
        assert scaled.item() == pytest.approx(value.item(), rel=1e-2)
    silent = torch.zeros(2, 3, 2, requires_grad=True)
    nothing = term(Pass({}, {"a": trace_of(silent)}))
    nothing.backward()
    assert nothing == 0 and silent.grad.isfinite().all()


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize("name", ["balance", "rate"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_descent_lowers_a_term(name: str, neuron: str) -> None:
    network = tiny("none", neuron=neuron)
    given = dict(balance={}, rate=dict(target=0.0, side="above"))[name]
    terms = [build("loss", dict(name=name, weight=1.0, **given))]
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    seen = []
    for _ in range(12):
        with watched(network, terms) as total:
            network(observations())
            value = total()
        optimizer.zero_grad()
        value.backward()
        assert network.layers[0].linear.weight.grad.abs().max() > 0
        optimizer.step()
        seen.append(value.item())
    assert seen[-1] < 0.7 * seen[0]


class Quiet(LossTerm):
    """Squared membrane potentials."""

    needs_traces = True

    def forward(self, seen: Pass) -> torch.Tensor:
        return sum(trace.membranes.square().mean() for trace in seen.traces.values())


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_terms_are_added_up_and_learned_from(kernel: str) -> None:
    network = tiny(kernel=kernel)
    terms = [build("loss", "rate"), Quiet()]
    with watched(network, terms) as total:
        network(observations())
        value = total()
    value.backward()
    assert network.layers[0].linear.weight.grad.abs().max() > 0
    with watched(network, terms[:1]) as total:
        network(observations())
        assert 0 < total() < value


def test_no_terms() -> None:
    network = tiny(kernel="native")
    with watched(network, []) as total:
        network(observations())
        assert total() is None


def test_parameters_are_checked() -> None:
    for given, refused in (
        (dict(name="rate", target=2), "loss.target=2: expected at most 1"),
        (dict(name="rate", side="below"), "loss.side=below: expected one of both, above"),
        (dict(name="balance", weight=-1), "loss.weight=-1: expected at least 0"),
    ):
        with pytest.raises(UserError) as problem:
            build("loss", given)
        assert str(problem.value) == refused
