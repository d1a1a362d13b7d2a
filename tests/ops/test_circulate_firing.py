"""Firing in rounds: by hand, and at its special settings against loops written here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnrl.ops.circulate_firing import fire_in_rounds, fired
from snnrl.ops.surrogate import DERIVATIVES, Surrogate, spike
from tests.nn.parts import make_neuron

RECTANGULAR = Surrogate("rectangular", 0.5)
SOFT_RESET = dict(name="circulate_firing", K=1, signed=False, rho=1.0)
ONE_SIGNED_ROUND = dict(name="circulate_firing", K=1, signed=True, rho=1.0)


def random_input() -> Tensor:
    """Of which about a third of the membranes is beyond either threshold."""
    return torch.randn(7, 5, 40, generator=torch.Generator().manual_seed(3))


def soft_reset(x: Tensor, decay: float, threshold: float, detach: bool) -> Tensor:
    v, out = torch.zeros_like(x[0]), []
    for current in x.unbind(0):
        u = decay * v + current
        s = spike(u, threshold, RECTANGULAR)
        v = u - threshold * (s.detach() if detach else s)
        out.append(s)
    return torch.stack(out)


def ternary(x: Tensor, decay: float, threshold: float, detach: bool) -> Tensor:
    v, out = torch.zeros_like(x[0]), []
    for current in x.unbind(0):
        u = decay * v + current
        s = spike(u, threshold, RECTANGULAR) - spike(-u, threshold, RECTANGULAR)
        v = u - threshold * (s.detach() if detach else s)
        out.append(s)
    return torch.stack(out)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("decay", [0.75, 0.6])
@pytest.mark.parametrize(
    ("spec", "loop"),
    [(SOFT_RESET, soft_reset), (ONE_SIGNED_ROUND, ternary), (dict(name="ternary"), ternary)],
)
def test_special_settings_are_known_neurons(spec, loop, decay, threshold, detach) -> None:  # type: ignore[no-untyped-def]
    own = dict(decay=decay, threshold=threshold, detach_reset=detach)
    upstream = torch.randn(7, 5, 40, generator=torch.Generator().manual_seed(4))
    results = []
    for neuron in (
        lambda x: make_neuron({**spec, **own})(x)[0],
        lambda x: loop(x, decay, threshold, detach),
    ):
        x = random_input().requires_grad_()
        spikes = neuron(x)
        spikes.backward(upstream)
        results.append((spikes.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert set(results[0][0].unique().tolist()) == ({0, 1} if loop is soft_reset else {-1, 0, 1})


def test_rounds_by_hand() -> None:
    u = torch.tensor([0.4, 0.6, 1.1, 2.0, -0.5, -0.6, -1.1, -2.0])

    def fire(rounds: int, signed: bool, rho: float) -> list[float]:
        arguments = (0.5, 0, RECTANGULAR, rounds, signed, rho, False)
        return fire_in_rounds(u, *arguments).tolist()

    assert fire(1, False, 1.0) == [0, 1, 1, 1, 0, 0, 0, 0]
    assert fire(2, False, 1.0) == [0, 1, 2, 2, 0, 0, 0, 0]
    assert fire(2, True, 1.0) == [0, 1, 2, 2, 0, -1, -2, -2]
    assert fire(3, True, 1.0) == [0, 1, 2, 3, 0, -1, -2, -3]
    # 0.6 - 0.05 is above the threshold still.
    assert fire(2, True, 0.1) == [0, 2, 2, 2, 0, -2, -2, -2]


def test_what_is_left_after_the_rounds_is_kept() -> None:
    x = torch.tensor([2.0, 0.0, 0.0, -3.0]).reshape(4, 1, 1)
    spikes, state = make_neuron(dict(name="circulate_firing", decay=1.0))(x)
    # 2 - 1; 1, spikes once and keeps 0.5; 0.5, which is not above; 0.5 - 3 + 1
    assert spikes.flatten().tolist() == [2, 1, 0, -2]
    assert state.membrane.item() == -2.5
    _, state = make_neuron(dict(name="circulate_firing", decay=1.0))(torch.zeros_like(x[:1]), state)
    assert state.membrane.item() == -1.5


def test_the_gradient_of_rounds_by_hand() -> None:
    """One neuron at 1.2 with the slope 1 within 0.5 of the threshold: the first round has none
    (0.7 away), the second, of what it left, has (0.2 away)."""
    for detach, expected in ((False, 1.0), (True, 1.0)):
        u = torch.tensor([1.2], requires_grad=True)
        fire_in_rounds(u, 0.5, 0, RECTANGULAR, 2, True, 1.0, detach).backward()
        assert u.grad is not None and u.grad.item() == expected
    # At 0.9 both have one; the second also reads the first spike, which took 0.5.
    for detach, expected in ((False, 1 + (1 - 0.5)), (True, 2.0)):
        u = torch.tensor([0.9], requires_grad=True)
        fire_in_rounds(u, 0.5, 0, RECTANGULAR, 2, False, 1.0, detach).backward()
        assert u.grad is not None and u.grad.item() == pytest.approx(expected)


def test_where_neurons_fired() -> None:
    out = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    seen = fired(out, signed=True)
    assert seen.tolist() == [1, 1, 0, 1, 1]
    assert torch.autograd.grad(seen.sum(), out)[0].tolist() == [-1, -1, 0, 1, 1]
    out = torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    seen = fired(out, signed=False)
    assert seen.tolist() == [0, 1, 1]
    assert torch.autograd.grad(seen.sum(), out)[0].tolist() == [1, 1, 1]


def test_no_gradient_without_the_surrogate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DERIVATIVES, "rectangular", lambda d, width: torch.zeros_like(d))
    x = random_input().requires_grad_()
    make_neuron("circulate_firing")(x)[0].sum().backward()
    assert x.grad is not None and not x.grad.any()
