"""Ordinary networks as integrate-and-fire neurons, beside loops over numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from snnrl.errors import UserError
from snnrl.nn.conversion import (
    Fired,
    Layer,
    corrected_start,
    find_layers,
    firing,
    integrate_and_fire,
    share_above,
)
from snnrl.nn.norm import make_strategy
from snnrl.nn.ordinary import normalised


def by_hand(x: float, m: float, th: float, steps: int) -> tuple[list[float], float]:
    spikes = []
    for _ in range(steps):
        m += x
        out = th if m > th else 0.0
        m -= out
        spikes.append(out)
    return spikes, m


@pytest.mark.parametrize("x", [-0.7, 0.0, 0.11, 0.5, 0.9, 1.0, 2.3])
@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_a_neuron(x: float, start: float) -> None:
    currents = torch.full((7, 1, 1), x, dtype=torch.double)
    half, one = torch.full((1, 1), start, dtype=torch.double), torch.ones(1, dtype=torch.double)
    fired = integrate_and_fire(currents, half, one)
    spikes, membrane = by_hand(x, start, 1.0, 7)
    assert fired.spikes.flatten().tolist() == spikes
    assert fired.membrane.item() == pytest.approx(membrane)


@pytest.mark.parametrize(
    ("x", "residual"),
    [
        (0.3, 3.0 - 2.0),  # three from input, two spikes: one is left over
        (-0.3, 0.0),  # negative input that fired nothing is no debt
    ],
)
def test_what_is_left_over_is_carried(x: float, residual: float) -> None:
    threshold = torch.tensor([1.0])
    start = torch.tensor([[0.5]])
    fired = integrate_and_fire(torch.full((10, 1, 1), x), start, threshold)
    expected = 0.5 + min(0.5, max(-0.5, residual * 0.4))
    if x > 0:
        fired = Fired(torch.tensor([1.0, 1.0]).view(2, 1, 1), torch.tensor([[0.5 + residual]]))
    after = corrected_start(start, fired, threshold, 0.4)
    assert after.item() == pytest.approx(expected)
    assert corrected_start(start, fired, threshold, 0.0).item() == 0.5


def test_spikes_too_many_are_a_debt_of_no_more_than_they_were() -> None:
    threshold, start = torch.tensor([1.0]), torch.tensor([[0.5]])
    # Two spikes, then input so negative that the membrane is far below.
    fired = Fired(torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1), torch.tensor([[-9.0]]))
    assert corrected_start(start, fired, threshold, 0.1).item() == pytest.approx(0.5 - 0.1 * 2)
    assert corrected_start(start, fired, threshold, 1.0).item() == 0.0


def test_the_correction_averages_out_over_actions() -> None:
    """Under constant input, the mean over actions of what neurons send is nearer to the input.

    By half: each residual is that of one action, whose start holds the last one.
    """
    x, threshold = torch.linspace(0.01, 0.99, 99), torch.ones(99)
    errors = {}
    for correction in (0.0, 1.0):
        start, sent = (threshold / 2)[None], []
        for _ in range(40):
            fired = integrate_and_fire(x.expand(5, 1, 99), start, threshold)
            start = corrected_start(start, fired, threshold, correction)
            sent.append(fired.spikes.mean(0))
        errors[correction] = (torch.stack(sent).mean(0) - x).abs().mean().item()
    assert errors[1.0] < 0.6 * errors[0.0]


def stack(*sizes: int) -> nn.Sequential:
    torch.manual_seed(3)
    maps = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    hidden = [each for linear in maps[:-1] for each in (linear, nn.ReLU(inplace=True))]
    return nn.Sequential(*hidden, maps[-1], nn.Tanh())


def converted(network: nn.Module, layers: list[Layer], x: Tensor, time_steps: int) -> Tensor:
    with torch.no_grad(), firing(layers, time_steps, None):
        values: Tensor = network(x)
    return values


def test_thresholds_are_the_largest_activations() -> None:
    network, x = stack(3, 6, 5, 2), torch.randn(40, 3)
    first, second = find_layers(network, network, [x[:7], x[7:]])
    hidden = network[:2](x)
    assert torch.allclose(first.threshold, hidden.amax(0))
    assert torch.allclose(second.threshold, network[2:4](hidden).amax(0))
    assert (first.activation, second.activation) == (network[1], network[3])


@torch.no_grad()
def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(1)
    image = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4), nn.ReLU()
    )
    normal = normalised(stack(4, 16, 16, 2), make_strategy("carebn"), 2)
    normal.train()
    for _ in range(30):
        with torch.enable_grad():
            normal(torch.randn(64, 4) * 2 + 1)
    return {
        "dense": (stack(4, 16, 16, 2), torch.randn(200, 4)),
        "images": (nn.Sequential(*image, nn.Linear(4, 2)), torch.rand(50, 2, 8, 8)),
        "normalised": (normal.eval(), torch.randn(200, 4) * 2 + 1),
        "one hidden layer": (stack(4, 32, 1), torch.randn(200, 4)),
    }


@pytest.mark.parametrize("name", ["dense", "images", "normalised", "one hidden layer"])
def test_more_time_steps_are_nearer(name: str) -> None:
    network, x = networks()[name]
    layers = find_layers(network, network, [x])
    with torch.no_grad():
        usual = network(x)
    errors = [(converted(network, layers, x, steps) - usual).abs().mean() for steps in (4, 20, 200)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.01 * usual.abs().max()
    # The network itself is as before.
    assert torch.equal(network(x).detach(), usual)


def test_a_layer_at_a_time_is_what_a_loop_over_time_computes() -> None:
    """All time steps of a layer are computed at once; here each step passes the whole network."""
    network, x = stack(3, 6, 5, 2), torch.randn(9, 3)
    layers = find_layers(network, network, [x])
    membranes = [(layer.threshold / 2).expand(9, -1) for layer in layers]
    outputs = torch.zeros(9, 5)
    with torch.no_grad():
        for _ in range(12):
            now = x
            for number, layer in enumerate(layers):
                membrane = membranes[number] + network[2 * number](now)
                now = layer.threshold * (membrane > layer.threshold)
                membranes[number] = membrane - now
            outputs += now / 12
        expected = torch.tanh(network[4](outputs))
    assert torch.allclose(converted(network, layers, x, 12), expected, atol=1e-6)


def test_a_neuron_that_never_fired_is_silent() -> None:
    network, x = stack(3, 6, 5, 2), torch.randn(9, 3)
    with torch.no_grad():
        network[0].bias[2] = -1e3
    layers = find_layers(network, network, [x])
    assert layers[0].threshold[2] == 0
    assert converted(network, layers, x, 5).isfinite().all()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.relu = nn.Linear(3, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.linear(self.relu(self.linear(x))))


class Of(nn.Module):
    """Layers of 3 numbers whose outputs a function makes."""

    def __init__(self, function: Callable[[Of, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.function = function
        self.a, self.b, self.c = (nn.Linear(3, 3) for _ in range(3))
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


NO_CHAINS: dict[str, Callable[[Of, Tensor], Tensor]] = {
    "two branches, side by side": lambda m, x: torch.cat(
        [m.first(m.a(x)), m.second(m.b(x))], dim=1
    ),
    "two branches, summed": lambda m, x: m.c(m.first(m.a(x)) + m.second(m.b(x))),
    "around a layer": lambda m, x: m.c(m.second(m.b(h := m.first(m.a(x)))) + h),
    "around a ReLU": lambda m, x: m.c(m.second(h := m.b(m.first(m.a(x)))) + h),
    "the input again": lambda m, x: m.c(m.second(m.b(m.first(m.a(x)) + x))),
    "a product of the input": lambda m, x: m.c(m.second(m.b(m.first(m.a(x)) * x))),
    "a function between": lambda m, x: m.c(m.second(m.b(m.first(m.a(x)).square()))),
    "a function behind the map": lambda m, x: m.c(m.second(torch.abs(m.b(m.first(m.a(x)))))),
    "a functional ReLU": lambda m, x: m.c(m.second(m.c(torch.relu(m.b(m.first(m.a(x))))))),
}


@pytest.mark.parametrize("rows", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", NO_CHAINS)
def test_layers_that_are_no_chain(kind: str, rows: int) -> None:
    network, x = Of(NO_CHAINS[kind]), 3 * torch.randn(8, 3)
    with pytest.raises(UserError, match="expected a chain of layers") as refused:
        find_layers(network, network, [x[:rows], x[rows - 1 :]])
    assert "\n" not in str(refused.value)
    assert not any(module._forward_pre_hooks for module in network.modules())


CHAINS: dict[str, Callable[[Of, Tensor], Tensor]] = {
    "a function of the inputs": lambda m, x: m.c(m.second(m.b(m.first(m.a(x.tanh()))))),
    "a function of the outputs": lambda m, x: m.c(m.second(m.b(m.first(m.a(x))))).exp(),
    "the input behind the last one": lambda m, x: m.c(m.second(m.b(m.first(m.a(x))))) + x,
    "a share of it": lambda m, x: m.c(m.second(m.b(0.5 * m.first(m.a(x))))),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_what_no_module_computes_and_keeps_the_mean_is_converted(kind: str) -> None:
    network, x = Of(CHAINS[kind]), 3 * torch.randn(50, 3)
    layers = find_layers(network, network, [x])
    with torch.no_grad():
        usual = network(x)
    errors = [(converted(network, layers, x, steps) - usual).abs().mean() for steps in (4, 400)]
    assert errors[0] > 5 * errors[1]


def test_the_share_of_activations_above_the_thresholds() -> None:
    network, x = stack(3, 6, 5, 2), torch.randn(40, 3)
    layers = find_layers(network, network, [x])
    assert share_above(layers, network, [x[:9], x[9:]]) == 0
    lower = [layer._replace(threshold=layer.threshold / 2) for layer in layers]
    hidden = network[:2](x)
    above = [hidden > lower[0].threshold, network[2:4](hidden) > lower[1].threshold]
    expected = torch.cat([each.flatten() for each in above]).double().mean().item()
    assert expected > 0.01
    assert share_above(lower, network, [x[:9], x[9:]]) == pytest.approx(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_activation_that_is_not_finite(value: float) -> None:
    network, x = stack(3, 4, 4, 1), torch.randn(5, 3)
    with torch.no_grad():
        network[2].bias[1] = value
    with pytest.raises(UserError, match=r"^3 \(ReLU\): .*not finite"):
        find_layers(network, network, [x])


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)),
            ["3 (Tanh)", "ReLU"],
        ),
        (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), ["1 (Tanh)", "ReLU"]),
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ELU(), nn.ReLU()),
            ["3 (ELU)", "ReLU"],
        ),
        (nn.Sequential(nn.Linear(3, 1)), ["no ReLU", "hidden layer"]),
        (normalised(stack(3, 4, 4, 1), make_strategy("layernorm"), 2), ["norm (LayerNorm)"]),
        (normalised(stack(3, 4, 4, 1), make_strategy("groupnorm"), 2), ["norm (GroupNorm)"]),
        (Twice(), ["twice"]),
    ],
)
def test_what_cannot_be_converted(network: nn.Module, words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        find_layers(network.eval(), network, [torch.randn(5, 3)])
    for word in words:
        assert word in str(refused.value)
    assert not any(module._forward_pre_hooks for module in network.modules())
