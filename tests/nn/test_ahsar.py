"""AHSAR: its equations, its closed loop, and when it moves."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.adaptive import followed_pairs, frozen
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy, recalibrating
from snnrl.nn.registry import names
from snnrl.nn.regulations.ahsar import AHSAR
from snnrl.nn.traces import counted

from .networks import images, observations, tiny, tiny_conv

LAYERS = 8


def by_hand(rates: list[list[float]], progress: list[float]) -> list[list[float]]:
    """The gains after each pass, by loops over layers; after each pass there is an evaluation."""
    count = len(rates[0])
    average, h, log_gain, gains = [0.15] * count, [0.0] * count, 0.0, []
    for seen, p in zip(rates, progress, strict=True):
        d = []
        for i in range(count):
            average[i] = 0.9 * average[i] + 0.1 * seen[i]
            over, under = max(average[i] - 0.2, 0.0), max(0.1 - average[i], 0.0)
            d.append(min(max((over - under) / 0.15, -3.0), 3.0))
        before = list(h)
        for i in range(count):
            left = before[i - 1] if i > 0 else before[i]
            right = before[i + 1] if i < count - 1 else before[i]
            h[i] += 0.1 * (d[i] - 0.1 * before[i]) + 0.02 * (left - 2 * before[i] + right)
        gains.append([math.exp(log_gain + 0.5 * math.tanh(value)) for value in h])
        energy = sum(average) / count / 0.15
        log_gain += 0.02 * math.tanh(energy - 1) * (1 - 0.9 * min(max(p, 0.0), 1.0))
        log_gain = min(max(log_gain, math.log(0.5)), math.log(2))
    return gains


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_the_equations(layers: int) -> None:
    generator = torch.Generator().manual_seed(layers)
    rates = torch.rand(200, layers, generator=generator).square()
    # Far too high, beyond the bound of the deviation, then silent.
    rates[20:50] = 1.0
    rates[50:195] = 0.0
    progress = (2 * torch.rand(200, generator=generator) - 0.5).tolist()
    regulation = AHSAR(layers)
    found = []
    for seen, p in zip(rates, progress, strict=True):
        found.append(regulation(seen))
        regulation.evaluated(p)
    expected = torch.tensor(by_hand(rates.tolist(), progress))
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-5, atol=1e-6)
    assert expected.max() > 1.4 and expected.min() < 0.75


def test_every_constant_counts() -> None:
    def gains(**changed: Any) -> Tensor:
        regulation = AHSAR(3, **changed)
        for seen in ([0.9, 0.02, 0.15], [1.0, 0.0, 0.3], [0.9, 0.01, 0.02]):
            for _ in range(30):
                regulation(torch.tensor(seen))
            regulation.evaluated(0.5)
        return regulation(torch.tensor([0.5, 0.1, 0.1]))

    usual = gains()
    for name, value in dict(
        lowest=0.05,
        highest=0.3,
        momentum=0.3,
        step=0.2,
        leak=0.5,
        diffusion=0.2,
        span=0.2,
        global_step=0.2,
        progress_weight=0.1,
        largest_deviation=0.5,
        largest_gain=1.001,
    ).items():
        assert not torch.allclose(gains(**{name: value}), usual), name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(diffusion=0.3), r"^regulation\.diffusion=0\.3: expected at most 0\.25$"),
        (
            dict(lowest=0.2),
            r"^regulation\.lowest=0\.2: expected less than regulation\.highest=0\.2",
        ),
        (dict(highest=0), r"^regulation\.highest=0: expected more than 0$"),
        (dict(momentum=0), r"^regulation\.momentum=0: expected more than 0$"),
        (dict(largest_gain=0.9), r"^regulation\.largest_gain=0\.9: expected at least 1$"),
        (dict(step=math.nan), r"^regulation\.step=nan: expected a finite number$"),
        (dict(rho=0.1), r"^regulation parameter=rho: expected one of"),
    ],
)
def test_parameters_that_make_no_sense(given: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(regulation=dict(name="ahsar", **given))


def test_a_network_without_spiking_layers_is_refused() -> None:
    with pytest.raises(UserError, match=r"^regulation=ahsar: the network has no spiking layer"):
        tiny(regulation="ahsar", hidden=[], readout="linear")


def state(network: SpikingNetwork) -> dict[str, Tensor]:
    return {
        name: buffer.clone()
        for name, buffer in network.named_buffers()
        if name.startswith("regulation.") or name.endswith("gain")
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_only_passes_that_learn_move_it() -> None:
    network = tiny("carebn", regulation=dict(name="ahsar", momentum=1.0, highest=0.11))
    network(observations())
    before = state(network)
    with torch.no_grad():
        network(observations(1))
    with frozen(network):
        network(observations(1)).sum().backward()
    with recalibrating(network):
        network(observations(1))
    network.eval()
    network(observations(1)).sum().backward()
    network.regulation.evaluated(0.0)
    assert same({n: v for n, v in before.items() if "log_gain" not in n}, state(network))
    network.train()
    network(observations(1))
    now = state(network)
    assert not any(torch.equal(now[name], before[name]) for name in before)


def test_an_evaluation_moves_thresholds_in_the_next_pass_that_learns() -> None:
    network = tiny("none", regulation=dict(name="ahsar", step=1e-9))
    for _ in range(20):
        network(observations())
    assert abs(network.regulation.rates.mean() - 0.15) > 0.02
    network.eval()
    values = network(observations())
    for _ in range(30):
        network.regulation.evaluated(0.0)
    assert torch.equal(network(observations()), values)
    network.train()(observations())
    gains = torch.stack([layer.neuron.threshold.gain for layer in network.stack()])
    torch.testing.assert_close(gains, network.regulation.log_gain.exp().expand(3))
    assert (network.regulation.rates.mean() > 0.15) == (gains[0] > 1)


def test_progress_slows_the_global_gain() -> None:
    def moved(progress: float) -> float:
        regulation = AHSAR(2)
        regulation.rates.fill_(0.3)
        regulation.evaluated(progress)
        return regulation.log_gain.item()

    whole = 0.02 * math.tanh(1)
    assert moved(-1.0) == moved(0.0) == pytest.approx(whole)
    assert moved(0.5) == pytest.approx(0.55 * whole)
    assert moved(1.0) == moved(2.0) == pytest.approx(0.1 * whole)


def test_a_target_follows_and_does_not_move_itself() -> None:
    online, target = (tiny("none", regulation="ahsar") for _ in range(2))
    target.eval()
    for _ in range(5):
        online(observations())
        target(observations())
    assert torch.equal(target.regulation.homeostat, torch.zeros(3))
    followed = [ours for ours, _ in followed_pairs(online, target)]
    assert {id(b) for b in followed} == {
        id(b) for n, b in online.named_buffers() if n.startswith("regulation.") or "gain" in n
    }
    for ours, theirs in followed_pairs(online, target):
        theirs.copy_(ours)
    with frozen(online):
        assert torch.equal(online(observations()), target(observations()))


EVERYTHING = [
    (group, name, make)
    for group, kind in [
        *((kind, kind) for kind in ("neuron", "surrogate", "encoder")),
        ("bn", "norm"),
    ]
    for name in names(kind)
    for make in (tiny, tiny_conv)
    # Population coding takes no images; frames have a time axis, which neither network's input has.
    if name != "frames" and (not name.startswith("population") or make is tiny)
]


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize(("group", "name", "make"), EVERYTHING)
def test_with_everything(group: str, name: str, make: Any) -> None:
    """Rates are those of the pass, thresholds of all layers move, and gradients are finite."""
    regulation = dict(name="ahsar", momentum=1.0, lowest=0.6, highest=0.7)
    network = make(**{group: name}, regulation=regulation, kernel="auto")
    x = observations() if make is tiny else images()
    with counted(network) as rates:
        values = network(x)
        seen = torch.stack([rate.mean() for rate in rates().values()])
    values.sum().backward()
    torch.testing.assert_close(network.regulation.rates, seen.detach())
    gains = torch.stack([layer.neuron.threshold.gain for layer in network.stack()])
    assert (gains != 1).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def random_layers(deviation: float, scale: float, **regulation: Any) -> tuple[Any, Tensor]:
    """Eight random layers, and inputs for them.

    :param deviation: of the weights, for a layer with one input
    :param scale: of the inputs
    """
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork(
        32,
        1,
        [24] * LAYERS,
        neuron="lif",
        surrogate="rectangular",
        encoder="direct",
        norm=make_strategy("none"),
        time_steps=5,
        population=1,
        kernel="auto",
        readout="linear",
        regulation=dict(name="ahsar", **regulation),
    )
    for i, layer in enumerate(network.layers):
        # Spikes are smaller than the inputs.
        spread = deviation * (1 if i == 0 else 2) / layer.linear.in_features**0.5
        torch.nn.init.normal_(layer.linear.weight, std=spread, generator=generator)
        torch.nn.init.zeros_(layer.linear.bias)
    return network, scale * torch.randn(24, 32, generator=generator)


def settle(network: Any, x: Tensor, passes: int, evaluate_every: int | None) -> Tensor:
    """Passes that learn, and evaluations; the mean rates of the last fifth of them, ``[L]``."""
    seen = []
    for k in range(passes):
        network(x)
        seen.append(network.regulation.rates.clone())
        if evaluate_every and k % evaluate_every == 0:
            network.regulation.evaluated(0.0)
    return torch.stack(seen[-passes // 5 :]).mean(0)


def check_leaks(regulation: AHSAR) -> None:
    """What is left of each layer's deviation is what its leak holds against it, and diffusion."""
    h = regulation.homeostat
    neighbours = torch.stack([torch.cat([h[:1], h[:-1]]), torch.cat([h[1:], h[-1:]])]).sum(0)
    exchanged = regulation.diffusion / regulation.step * (neighbours - 2 * h)
    held = regulation.leak * h - exchanged
    torch.testing.assert_close(regulation.deviations(), held, rtol=0.02, atol=0.02)


FAST = dict(step=0.5, momentum=0.5, global_step=0.1)
USUAL: dict[str, float] = {}
SIDES = [(0.6, 0.3), (0.9, 3.0)]
"""Random layers that fire too little, and too much."""


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("constants", "passes"), [(FAST, 100), pytest.param(USUAL, 1500, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("side", SIDES)
def test_the_mean_rate_comes_into_the_band(
    side: tuple[float, float], constants: dict[str, float], passes: int
) -> None:
    network, x = random_layers(*side, **constants)
    with counted(network.eval()) as rates, torch.no_grad():
        network(x)
        start = torch.stack([rate.mean() for rate in rates().values()]).mean()
    assert start < 0.05 if side == SIDES[0] else start > 0.25
    network.train()
    alone = settle(network, x, passes, None).mean()
    check_leaks(network.regulation)
    with_gain = settle(network, x, passes, 2 if constants else 10).mean()
    check_leaks(network.regulation)
    # By themselves the layers come closer to the band, with the global gain into its middle.
    assert start < alone < 0.11 if side == SIDES[0] else 0.17 < alone < start
    assert with_gain == pytest.approx(0.15, abs=0.01)
    assert (network.regulation.log_gain < 0) == (side == SIDES[0])
