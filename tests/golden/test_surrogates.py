import pytest
import torch

from snnrl.nn.neurons import make_surrogate
from snnrl.ops.surrogate import spike

from .helpers import close


@pytest.mark.parametrize(
    ("recorded", "name"),
    [("rect", "rectangular"), ("sigmoid", "sigmoid"), ("tanh", "tanh"), ("triangle", "triangle")],
)
def test_gradient_of_the_spike(golden, recorded, name):
    data = golden("surrogates")
    v = data[f"{recorded}_v"].clone().requires_grad_()
    spikes = spike(v, 0.5, make_surrogate(name))
    assert torch.equal(spikes, (data[f"{recorded}_v"] > 0.5).float())
    spikes.sum().backward()
    close(v.grad, data[f"{recorded}_grad"])
