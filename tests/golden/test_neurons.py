import pytest
import torch

from snnrl.ops import native
from tests.nn.parts import make_neuron

from .helpers import close

NEURONS = [("LIF", "lif"), ("CLIF", "clif"), ("DN", "dn")]


@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize(("recorded", "name"), NEURONS)
def test_spikes_and_input_gradient(golden, recorded, name, kernel):
    data = golden("neurons")
    x = data[f"{recorded}_x"].clone().requires_grad_()
    neuron = make_neuron(name, "rectangular")
    spikes = neuron(x)[0] if kernel == "naive" else native.neuron(x, neuron.constants())
    assert torch.equal(spikes, data[f"{recorded}_spikes"])
    spikes.backward(data[f"{recorded}_g"])
    close(x.grad, data[f"{recorded}_dx"])


@pytest.mark.parametrize(("recorded", "name"), NEURONS)
def test_membrane_and_gradient_when_stepped_through_the_state(golden, recorded, name):
    data = golden("neurons")
    x = data[f"{recorded}_x"].clone().requires_grad_()
    neuron, state, spikes = make_neuron(name, "rectangular"), None, []
    for t in range(len(x)):
        s, state = neuron(x[t : t + 1], state)
        spikes.append(s[0])
        close(state.membrane, data[f"{recorded}_v"][t])
    torch.stack(spikes).backward(data[f"{recorded}_g"])
    close(x.grad, data[f"{recorded}_dx"])
