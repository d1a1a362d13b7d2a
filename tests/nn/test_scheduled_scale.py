"""The scale of a fixed surrogate, constant or scheduled over training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.schedule import scheduled_modules

from .networks import observations, tiny
from .parts import FUSED_SURROGATES, make_neuron


def gradients(network: SpikingNetwork) -> list[torch.Tensor]:
    network.zero_grad()
    network(observations()).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


def with_scale(kernel: str, name: str, **given: float) -> SpikingNetwork:
    # Without a norm: a bias in front of one has no gradient but rounding.
    return tiny("none", surrogate=dict(name=name, **given), kernel=kernel)


def go(network: SpikingNetwork, remaining: float) -> None:
    for module in scheduled_modules(network):
        module.set_progress(remaining)


def same_as_constant(name: str, kernel: str, constant: str) -> None:
    """At each progress the gradients are those of the constant scale there, which differ.

    :param constant: kernel of the networks with a constant scale
    """
    network = with_scale(kernel, name, scale=0.25, scale_end=1.25)
    seen = []
    for remaining, scale in ((1.0, 0.25), (0.75, 0.5), (0.25, 1.0), (0.0, 1.25)):
        go(network, remaining)
        seen.append(gradients(network))
        for ours, theirs in zip(
            seen[-1], gradients(with_scale(constant, name, scale=scale)), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    first = [each[0] for each in seen]
    assert all(not torch.allclose(one, other) for one, other in pairwise(first))


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize("name", FUSED_SURROGATES)
def test_it_goes_linearly_from_start_to_end(name: str, kernel: str) -> None:
    same_as_constant(name, kernel, kernel)


@pytest.mark.slow
def test_compiled_code_reads_the_present_scale() -> None:
    same_as_constant("atan", "compile", "naive")


@pytest.mark.parametrize(
    ("remaining", "scale"), [(1.2, 0.5), (-0.01, 3.0), (0.0, 3.0), (0.5, 1.75)]
)
def test_before_the_start_and_beyond_the_end(remaining: float, scale: float) -> None:
    network = with_scale("naive", "triangle", scale=0.5, scale_end=3.0)
    go(network, remaining)
    for layer in network.layers:
        assert layer.neuron.surrogate.operand(0.5).scale.item() == pytest.approx(scale)


@pytest.mark.parametrize("name", FUSED_SURROGATES)
def test_without_an_end_it_is_a_number_as_ever(name: str) -> None:
    surrogate = make_neuron("lif", name).surrogate
    before = surrogate.operand(0.5)
    surrogate.set_progress(0.3)
    assert surrogate.operand(0.5) == before and isinstance(before.scale, float)
    assert not surrogate.state_dict()


def test_it_is_saved_with_the_weights_and_shown() -> None:
    saved, loaded = (with_scale("naive", "atan", scale=1.0, scale_end=5.0) for _ in range(2))
    go(saved, 0.5)
    loaded.load_state_dict(saved.state_dict())
    assert str(loaded.layers[1].neuron.surrogate) == "Atan(scale=1 to 5, now 3)"


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (dict(name="atan", scale_end=0.0), "surrogate.scale_end=0.0: expected more than 0"),
        (dict(name="atan", scale_end="x"), "surrogate.scale_end=x: expected a number or null"),
        (
            dict(name="atan", scale=3.0, scale_end=3.0),
            "surrogate.scale_end=3.0: is surrogate.scale, so nothing would change; expected "
            "another number, or null for a constant scale",
        ),
        (
            dict(name="learnable", scale_end=3.0),
            "surrogate parameter=scale_end: expected one of highest, lowest, scale",
        ),
    ],
)
def test_what_does_not_fit(given: dict[str, Any], refused: str) -> None:
    with pytest.raises(UserError) as problem:
        make_neuron("lif", given)
    assert str(problem.value).startswith(refused)
