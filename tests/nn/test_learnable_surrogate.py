"""The surrogate whose slope is learned: arXiv 2605.27412, as far as its abstract tells."""

from __future__ import annotations

import pytest
import torch

from snnrl.errors import UserError

from .networks import observations, tiny
from .parts import make_neuron


def test_gradients_are_the_stated_ones() -> None:
    neuron = make_neuron("lif", "learnable")
    surrogate, threshold = neuron.surrogate, 0.5
    v = torch.linspace(-1, 2, 31, requires_grad=True)
    upstream = torch.randn(31, generator=torch.Generator().manual_seed(0))
    spikes = surrogate(v, threshold, 3)
    assert torch.equal(spikes, (v > threshold).float())
    spikes.backward(upstream)
    x, a = (v.detach() - threshold) / threshold, 2.0
    slope = (1 - torch.tanh(a * x) ** 2) / 2
    torch.testing.assert_close(v.grad, upstream * a * slope / threshold)
    # da/dw of softplus at w is sigmoid(w) = 1 - exp(-a).
    expected = (upstream * x * slope).sum() * (1 - torch.exp(torch.tensor(-a)))
    found = surrogate.weight.grad
    torch.testing.assert_close(found[3], expected)
    assert found[torch.arange(5) != 3].abs().max() == 0


def test_a_slope_for_each_layer_and_step() -> None:
    network = tiny(surrogate="learnable", kernel="auto")
    network(observations()).sum().backward()
    weights = [layer.neuron.surrogate.weight for layer in network.layers]
    assert [weight.shape for weight in weights] == [(4,)] * 3
    assert all(weight.grad.abs().max() > 0 for weight in weights)
    assert network.kernel == "naive"


@pytest.mark.parametrize(
    "given",
    [dict(scale=20.0), dict(scale=0.1), dict(lowest=3.0), dict(highest=1.0)],
    ids=str,
)
def test_a_start_out_of_bounds(given: dict[str, float]) -> None:
    values = dict(scale=2.0, lowest=0.5, highest=10.0) | given
    expected = "surrogate.scale={scale}: expected between surrogate.lowest={lowest} and "
    expected += "surrogate.highest={highest}"
    with pytest.raises(UserError) as refused:
        make_neuron("lif", dict(name="learnable", **given))
    assert str(refused.value) == expected.format(**values)


def test_a_start_at_its_bounds() -> None:
    for given in (dict(scale=10.0), dict(scale=0.5), dict(lowest=2.0), dict(highest=2.0)):
        surrogate = make_neuron("lif", dict(name="learnable", **given)).surrogate
        slope = torch.full((5,), given.get("scale", 2.0))
        torch.testing.assert_close(surrogate.slopes(), slope)
        surrogate.project()
        torch.testing.assert_close(surrogate.slopes(), slope)


@pytest.mark.parametrize(("weight", "slope"), [(-9.0, 0.5), (50.0, 10.0), (1.0, 1.3132617)])
def test_projection(weight: float, slope: float) -> None:
    surrogate = make_neuron("lif", "learnable").surrogate
    with torch.no_grad():
        surrogate.weight.fill_(weight)
    surrogate.project()
    torch.testing.assert_close(surrogate.slopes(), torch.full((5,), slope))
