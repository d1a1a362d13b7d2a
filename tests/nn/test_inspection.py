"""What an inspection sees of a pass."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from snnrl.nn.inspection import inspect_pass, norm_of, window_of
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.networks import SpikingNetwork

from .networks import images, observations, tiny, tiny_conv


def set_affine(layer: SpikingLayer, gamma: float, beta: float) -> None:
    with torch.no_grad():
        layer.norm.gamma.fill_(gamma)
        layer.norm.beta.fill_(beta)


def test_a_dead_and_a_saturated_layer_and_what_reaches_the_layer_before() -> None:
    network = tiny()
    # Far below and far above the threshold of 0.5, whatever the input.
    set_affine(network.layers[0], 0.0, 9.0)
    set_affine(network.layers[1], 0.0, -9.0)
    seen = inspect_pass(network, observations())
    assert (seen["layers.0"].fired == 1).all()
    assert (seen["layers.1"].fired == 0).all()
    # Rectangular: no gradient more than half a potential from the threshold.
    assert not seen["layers.0"].inside.any() and not seen["layers.1"].inside.any()
    assert (seen["layers.1"].gradients == 0).all()
    assert (seen["layers.0"].gradients == 0).all()
    assert seen["layers.2"].gradients.abs().max() > 0


def test_potentials_inside_the_window_by_hand() -> None:
    for name, layer in inspect_pass(tiny("none"), observations()).items():
        assert torch.equal(layer.inside, (layer.membranes - 0.5).abs() < 0.5), name
        assert 0 < layer.inside.double().mean() < 1
        assert torch.equal(layer.fired, (layer.membranes > 0.5).float())


@pytest.mark.parametrize(
    ("surrogate", "half"),
    [
        ("rectangular", 0.5),
        # 1 - distance / width above a tenth.
        ("triangle", 0.45),
        # (pi / 2 * 2 * distance)^2 below 9.
        ("atan", 3 / torch.pi),
        # (1 + 10 * distance)^2 below 10.
        ("fast_sigmoid", (10**0.5 - 1) / 10),
    ],
)
def test_the_window_of_a_surrogate_by_hand(surrogate: str, half: float) -> None:
    ((low, high),) = window_of(tiny(surrogate=surrogate).layers[0])
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_neurons_with_signs_have_a_window_on_both_sides() -> None:
    stretches = window_of(tiny(neuron="ternary", surrogate="fast_sigmoid").layers[0])
    assert [(low < level < high) for (low, high), level in zip(stretches, (-0.5, 0.5), strict=True)]


def test_gradients_are_those_of_half_the_squared_outputs() -> None:
    """beta is added to every current, so its gradient is the sum of theirs."""
    network = tiny().eval()
    seen = inspect_pass(network, observations())
    (network(observations()).square().sum() / 2).backward()
    for layer, name in zip(network.layers, seen, strict=True):
        torch.testing.assert_close(seen[name].gradients.sum((0, 1)), layer.norm.beta.grad)
        assert seen[name].gradients.abs().max() > 0


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    ("bn", "changes", "kernel"),
    [
        *product(
            ["carebn", "none", "bntt", "mpbn", "layernorm"],
            [{}, {"lateral": "intra"}, {"neuron": "alif"}],
            ["naive"],
        ),
        *product(["carebn", "none", "bntt"], [{}, {"lateral": "intra"}], ["native"]),
    ],
)
def test_inputs_of_a_batch_do_not_depend_on_each_other(
    bn: str, changes: dict[str, Any], kernel: str
) -> None:
    network = tiny(bn, kernel=kernel, **changes).train()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    x = observations()
    whole = inspect_pass(network, x)
    parts = [inspect_pass(network, half) for half in (x[:20], x[20:])]
    assert list(whole) == ["layers.0", "layers.1", "layers.2"]
    for name, layer in whole.items():
        for field, values in layer._asdict().items():
            pieces = [part[name]._asdict()[field] for part in parts]
            if values is None:
                assert bn == "none" and field in ("before", "after") and pieces == [None, None]
                continue
            assert values.shape[:2] == (4, 32) and not values.requires_grad
            torch.testing.assert_close(torch.cat(pieces, dim=1), values)
    # Nothing of the network has changed.
    assert network.training and network.kernel == kernel
    assert all(weight.grad is None for weight in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name])


def test_what_a_normalisation_takes_in_and_gives() -> None:
    network = tiny().eval()
    layer, seen = network.layers[0], inspect_pass(network, observations())["layers.0"]
    assert norm_of(layer) is layer.norm
    assert torch.equal(layer.norm(seen.before), seen.after)
    # The membrane potential of the first step is the current.
    assert torch.equal(seen.membranes[0], seen.after[0])


def test_normalised_membrane_potentials_are_what_the_threshold_meets() -> None:
    network = tiny("mpbn", lateral="intra").eval()
    for layer, seen in zip(
        network.layers, inspect_pass(network, observations()).values(), strict=True
    ):
        norm = norm_of(layer)
        assert norm is not None and norm.of_membranes
        assert torch.equal(seen.after, seen.membranes)
        assert not torch.equal(seen.before, seen.after)
        assert torch.equal(seen.fired, (seen.after > 0.5).float())
    assert norm_of(tiny("none").layers[0]) is None


def test_convolutions() -> None:
    network: SpikingNetwork = tiny_conv(surrogate="learnable")
    seen = inspect_pass(network, images())
    assert [tuple(layer.membranes.shape[2:]) for layer in seen.values()] == [
        (4, 4, 5),
        (6, 2, 2),
        (6,),
    ]
    for layer in seen.values():
        assert layer.inside.shape == layer.gradients.shape == layer.membranes.shape
        assert layer.inside.any() and layer.gradients.abs().max() > 0
