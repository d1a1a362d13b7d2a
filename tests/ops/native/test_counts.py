"""Spikes of hidden layers, counted over time by the C++ operators that fire them."""

from itertools import product

import pytest
import torch

from snnrl.ops import native
from snnrl.ops.dynamics import FusedLayer, run

from ..triton.helpers import EPS, make_dynamics, naive_normalised, normal

OUTPUTS = 7


LAYERS = [("none", False), *product(("batch", "given"), (False, True))]
"""The normalisation in front of the neurons; whether a linear map follows them."""


def leaves_of(features):
    x = normal(5, 9, features, scale=1.5, shift=0.4)
    gamma, beta = (normal(features, seed=seed, scale=0.2, shift=0.5) for seed in (2, 3))
    weight, bias = normal(OUTPUTS, features, seed=6), normal(OUTPUTS, seed=7)
    return [leaf.requires_grad_() for leaf in (x, gamma, beta, weight, bias)]


def given(statistics, features):
    if statistics == "batch":
        return None
    return normal(features, seed=4, scale=0.3), normal(features, seed=5).abs() + 0.5


def naive_spikes(statistics, dynamics, x, gamma, beta):
    if statistics == "none":
        return run(x, dynamics)[0]
    return naive_normalised(x, given(statistics, x.shape[2]), gamma, beta, dynamics)


def fused(statistics, dynamics, linear, x, gamma, beta, weight, bias):
    """Output of the operator, and counts."""
    if statistics == "none":
        return native.neuron(x, dynamics, counts=True)
    layer = FusedLayer(given(statistics, x.shape[2]), gamma, beta, EPS, dynamics)
    if linear:
        output, _, _, counts = native.fire_linear(x, layer, weight, bias, counts=True)
    else:
        output, _, _, counts = native.normalised_neuron(x, layer, counts=True)
    return output, counts


# Less than a block of neurons, one, and two with a rest.
@pytest.mark.parametrize("features", [6, 64, 300])
@pytest.mark.parametrize(("statistics", "linear"), LAYERS)
@pytest.mark.parametrize("used", ["output", "counts", "both"])
def test_counts_and_gradients(statistics, linear, used, features):
    dynamics = make_dynamics("clif", "sigmoid")
    results = []
    for is_fused in (False, True):
        leaves = leaves_of(features)
        if is_fused:
            output, counts = fused(statistics, dynamics, linear, *leaves)
        else:
            spikes = naive_spikes(statistics, dynamics, *leaves[:3])
            output = torch.nn.functional.linear(spikes, *leaves[3:]) if linear else spikes
            counts = spikes.sum(0)
        loss = torch.zeros(())
        if used != "counts":
            loss = loss + (output * normal(*output.shape, seed=8)).sum()
        if used != "output":
            loss = loss + (counts * normal(*counts.shape, seed=9)).sum()
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        results.append((counts.detach(), *gradients))
    assert results[0][0].sum() > 0 and torch.equal(results[0][0], results[1][0])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_counts_of_images():
    spikes, counts = native.neuron(normal(4, 3, 2, 5, 3, shift=0.3), make_dynamics("lif"), True)
    assert counts.shape == (3, 2, 5, 3) and counts.sum() > 0
    assert torch.equal(counts, spikes.sum(0))


@pytest.mark.parametrize("operator", [native.normalised_neuron, native.fire_linear])
def test_without_counts_there_are_three_results(operator):
    x, gamma, beta, weight, bias = leaves_of(6)
    layer = FusedLayer(None, gamma, beta, EPS, make_dynamics("lif"))
    arguments = (weight, bias) if operator is native.fire_linear else ()
    assert len(operator(x, layer, *arguments)) == 3
    assert len(operator(x, layer, *arguments, counts=True)) == 4
