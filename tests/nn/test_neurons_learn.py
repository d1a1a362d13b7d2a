"""Every neuron: it is learned through its spikes, and so is what it has of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.registry import names

from .learning import BOUND, error_after_training, scale_gradient
from .networks import tiny
from .parts import make_neuron


# Mean squared error after 120 steps, of a variance of 1. It is 0.05 (dn) to 0.2 (circulate_firing);
# without a gradient through the spikes 0.96 to 1.02, and with one of the wrong sign 0.66 to 1.03.
def network(neuron: Any) -> SpikingNetwork:
    return tiny("tdbn", neuron=neuron, hidden=[24, 8], readout="linear")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("neuron", names("neuron"))
def test_it_learns(neuron: str) -> None:
    assert error_after_training(network(neuron)) < BOUND


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("neuron", names("neuron"))
def test_it_does_not_with_a_wrong_gradient(neuron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for factor in (0, -1):
        scale_gradient(monkeypatch, factor)
        assert error_after_training(network(neuron)) > BOUND


@pytest.mark.parametrize(("start", "target"), [(0.5, 0.9), (0.9, 0.5)])
def test_a_decay_is_found(start: float, target: float) -> None:
    """From the spikes of a neuron with another decay; a gradient of the wrong sign moves away."""
    x = torch.randn(8, 64, 20, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.15
    rates = make_neuron(dict(name="lif", decay=target))(x)[0].mean((0, 2))
    neuron = make_neuron(dict(name="plif", decay=start))
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.1)
    for _ in range(60):
        loss = (neuron(x)[0].mean((0, 2)) - rates).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.sigmoid(neuron.w).item() == pytest.approx(target, abs=0.03)
