"""The surrogate whose slope is learned: arXiv 2605.27412, as far as its abstract tells."""

from __future__ import annotations

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.surrogates.learnable import LearnableSurrogate

from .networks import observations, tiny
from .parts import NEURONS, make_neuron


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


@pytest.mark.parametrize("slope", [0.5, 2.0, 10.0])
def test_gradients_are_the_finite_differences_of_the_smooth_proxy(slope: float) -> None:
    surrogate = make_neuron("lif", dict(name="learnable", scale=slope)).surrogate.double()
    v = torch.linspace(-1, 2, 31, dtype=torch.float64, requires_grad=True)
    threshold = torch.full((31,), 0.4, dtype=torch.float64, requires_grad=True)

    def proxy(v: torch.Tensor, threshold: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return torch.tanh(a * (v - threshold) / threshold) / 2 + 0.5

    # Of each membrane alone, so that differences of opposite sign cannot cancel.
    slopes = surrogate.slopes().detach()[1].expand(31)
    at = [v.detach(), threshold.detach(), slopes]
    found = [
        torch.autograd.grad(surrogate(v, threshold, 1).sum(), given, retain_graph=True)[0]
        for given in (v, threshold)
    ]
    by_membrane = [
        torch.autograd.grad(spike, surrogate.weight, retain_graph=True)[0][1]
        for spike in surrogate(v, threshold, 1)
    ]
    # da/dw of softplus is 1 - exp(-a).
    found.append(torch.stack(by_membrane) / (1 - torch.exp(-slopes)))
    h = 1e-6
    for i, gradient in enumerate(found):
        above, below = (
            proxy(*[each + shift * (i == j) for j, each in enumerate(at)]) for shift in (h, -h)
        )
        torch.testing.assert_close(gradient, (above - below) / (2 * h), rtol=1e-6, atol=1e-8)
        assert gradient.abs().max() > 1e-3


def learns_every_slope(neuron: str, kernel: str) -> None:
    network = tiny("vanilla", neuron=neuron, surrogate="learnable", kernel=kernel)
    network(observations()).square().sum().backward()
    for layer in network.layers:
        # Some neurons put something around the surrogate.
        (surrogate,) = (m for m in layer.modules() if isinstance(m, LearnableSurrogate))
        gradient = surrogate.weight.grad
        assert gradient.shape == (4,)
        assert gradient.isfinite().all() and (gradient != 0).all()


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_learns_every_slope(neuron: str) -> None:
    learns_every_slope(neuron, "naive")


@pytest.mark.slow
def test_compiled_code_learns_every_slope() -> None:
    learns_every_slope("clif", "compile")


def test_a_slope_for_each_layer_and_step() -> None:
    network = tiny(surrogate="learnable", kernel="auto")
    network(observations()).sum().backward()
    weights = [layer.neuron.surrogate.weight for layer in network.layers]
    assert [weight.shape for weight in weights] == [(4,)] * 3
    assert all(weight.grad.abs().max() > 0 for weight in weights)
    assert network.kernel == "native"


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
