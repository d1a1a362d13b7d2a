"""Weights of 8 bits and integer membranes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnrl.deploy.quantising import quantise
from snnrl.deploy.runtime import IntegerLayer, Layer
from snnrl.errors import UserError

from .policies import agent_of, observations, policy_of, spikes_of


@pytest.mark.parametrize("neuron", ["lif", "clif", "plif"])
def test_it_spikes_nearly_as_before(neuron: str) -> None:
    kwargs = (("neuron", neuron), ("net_arch", (64, 64)))
    policy = policy_of("td3", kwargs)
    integers, shown = quantise(policy), observations(agent_of(), 300)
    for layer, before in zip(integers.layers, policy.layers, strict=True):
        assert isinstance(layer, IntegerLayer) and isinstance(before, Layer)
        assert layer.weight.dtype == np.int8 and np.abs(layer.weight).max() == 127
        scale = layer.unit * 2**layer.shift
        np.testing.assert_allclose(layer.weight * scale, before.weight, atol=scale * 0.5001)
        np.testing.assert_allclose(layer.threshold * layer.unit, before.threshold, rtol=0.01)
    for ours, theirs in zip(spikes_of(integers, shown), spikes_of(policy, shown), strict=True):
        assert (ours != theirs).mean() < 0.03
    assert np.abs(integers.act(shown) - policy.act(shown)).mean() < 0.05


def test_by_hand() -> None:
    layer = IntegerLayer(
        weight=np.array([[2, -3]], np.int8),
        bias=np.array([-7], np.int32),
        threshold=np.array([300], np.int32),
        neuron="lif",
        numerators={"decay": 3072},
        shift=7,
        unit=1.0,
    )
    inputs = np.array([[[1, 0]], [[1, 0]], [[0, 1]], [[1, 1]]], np.float32)
    currents = layer.currents(inputs)
    assert currents.ravel().tolist() == [249, 249, -391, -135]
    spikes, membranes = layer.fire(currents)
    # 249; 186 + 249 and a spike; -391; -293 - 135, rounded towards 0.
    assert membranes.ravel().tolist() == [249, 435, -391, -428]
    assert spikes.ravel().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("variant", "changes", "message"),
    [
        ("td3", (("encoder", "direct"),), "the first layer's inputs are currents"),
        ("td3", (("neuron", "dn"),), "layers.0 has dynamic neurons"),
        ("td3", (("bn", "bntt"),), "layers.0 is normalised otherwise in each time step"),
    ],
)
def test_what_has_no_integers(variant: str, changes: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        quantise(policy_of(variant, changes))
    assert str(refused.value).startswith("--bits 8: ") and message in str(refused.value)


def test_other_bits() -> None:
    with pytest.raises(UserError, match=r"^--bits 4: expected 8$"):
        quantise(policy_of(), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["weight", "bias", "threshold"])
def test_what_is_not_finite(field: str, value: float) -> None:
    policy = policy_of()
    values = getattr(policy.layers[1], field).copy()
    values.flat[0] = value
    layers = (policy.layers[0], policy.layers[1]._replace(**{field: values}), *policy.layers[2:])
    with pytest.raises(UserError, match=r"^--bits 8: layers\.1 has a weight that is not finite"):
        quantise(policy._replace(layers=layers))


def test_membranes_that_could_overflow() -> None:
    policy = policy_of()
    layer = policy.layers[0]
    wide = layer._replace(bias=layer.bias + 1e6)
    with pytest.raises(UserError, match=r"^--bits 8: the membranes of layers\.0 can become larger"):
        quantise(policy._replace(layers=(wide, *policy.layers[1:])))
