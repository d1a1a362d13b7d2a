import pytest
import torch

from snnrl.nn.registry import build
from snnrl.nn.shape import LayerShape

from .helpers import close


@pytest.mark.parametrize(
    ("recorded", "name"),
    [("rect", "rectangular"), ("sigmoid", "sigmoid"), ("tanh", "tanh"), ("triangle", "triangle")],
)
def test_gradient_of_the_spike(golden, recorded, name):
    data = golden("surrogates")
    compare(name, data[f"{recorded}_v"], data[f"{recorded}_grad"])


@pytest.mark.parametrize("slope", [2, 4])
def test_atan(golden, slope):
    data = golden("surrogates_atan")
    compare(dict(name="atan", scale=float(slope)), data["atan_v"], data[f"atan_alpha{slope}_grad"])


def test_its_usual_slope(golden):
    data = golden("surrogates_atan")
    compare("atan", data["atan_v"], data["atan_alpha2_grad"])


def compare(spec, recorded, gradient):
    v = recorded.clone().requires_grad_()
    spikes = build("surrogate", spec, shape=LayerShape(1, 1))(v, 0.5, 0)
    assert torch.equal(spikes, (recorded > 0.5).float())
    spikes.sum().backward()
    assert gradient.abs().max() > 0
    close(v.grad, gradient)
