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
    v = data[f"{recorded}_v"].clone().requires_grad_()
    spikes = build("surrogate", name, shape=LayerShape(1, 1))(v, 0.5, 0)
    assert torch.equal(spikes, (data[f"{recorded}_v"] > 0.5).float())
    spikes.sum().backward()
    close(v.grad, data[f"{recorded}_grad"])
