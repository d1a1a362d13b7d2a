"""Gradients of every neuron against finite differences, with a smooth function for the spike.

A spike has no finite difference. With a smooth stand-in every neuron is a smooth function, and its
gradient, through time, reset and what else it carries, must be that of the function.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnrl.nn.registry import names
from snnrl.nn.surrogates import Surrogate
from tests.nn.parts import make_neuron

SHAPE = (4, 2, 3)


class Smooth(Surrogate):
    """A sigmoid in place of the step."""

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        return torch.sigmoid(3 * (membrane - threshold))


def neuron_and_input(name: str, **own: object) -> tuple[torch.nn.Module, Tensor]:
    neuron = make_neuron(dict(name=name, **own), Smooth).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(*SHAPE, dtype=torch.float64, generator=generator)
    return neuron, x.requires_grad_()


@pytest.mark.parametrize("name", names("neuron"))
def test_every_path_has_a_gradient(name: str) -> None:
    neuron, x = neuron_and_input(name)
    own = list(neuron.parameters())
    assert torch.autograd.gradcheck(lambda x, *own: neuron(x)[0], (x, *own))


@pytest.mark.parametrize("name", names("neuron"))
def test_a_detached_reset_has_none(name: str) -> None:
    """Its gradient differs from that of the function, and not in the last step."""
    gradients = []
    for detach in (False, True):
        neuron, x = neuron_and_input(name, detach_reset=detach)
        gradients.append(torch.autograd.grad(neuron(x)[0].sum(), x)[0])
    whole, detached = gradients
    assert not torch.allclose(whole[:-1], detached[:-1])
    if name != "circulate_firing":  # Its rounds are resets within a step.
        torch.testing.assert_close(whole[-1], detached[-1])


def test_the_threshold_of_alif_falls_back() -> None:
    x = torch.tensor([0.9, 0.55, 0.55, 0.55, 0.55]).reshape(5, 1, 1)
    neuron = make_neuron(dict(name="alif", rho=0.5))
    spikes, state = neuron(x)
    # Adaptation 0, 1, 0.5, 1.25, 0.625; threshold 0.5, 0.6, 0.55, 0.625, 0.5625;
    # membrane 0.9, 0.55, 0.9625, 0.55, 0.9625
    assert spikes.flatten().tolist() == [1, 0, 1, 0, 1]
    assert state.adaptation.item() == 0.625


def test_alif_without_a_rise_is_lif() -> None:
    x = torch.randn(6, 4, 20, generator=torch.Generator().manual_seed(2)) * 0.6 + 0.2
    results = []
    for spec in ("lif", dict(name="alif", beta=0.0)):
        leaf = x.clone().requires_grad_()
        spikes = make_neuron(spec)(leaf)[0]
        spikes.square().sum().backward()
        results.append((spikes.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_the_rise_is_in_thresholds() -> None:
    """So that a regulated threshold moves both."""
    x = torch.randn(6, 4, 20, generator=torch.Generator().manual_seed(2))
    small = make_neuron(dict(name="alif", threshold=0.25))(x)[0]
    assert torch.equal(make_neuron(dict(name="alif", threshold=0.5))(2 * x)[0], small)
