import pytest
import torch

from snnrl.ops import native
from tests.nn.parts import make_neuron

from .helpers import close

NEURONS = [
    ("neurons", "LIF", "lif"),
    ("neurons", "CLIF", "clif"),
    ("neurons", "DN", "dn"),
    ("neurons_baselines", "DN_mdcsan", "dn_mdcsan"),
]


@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize(("file", "recorded", "name"), NEURONS)
def test_spikes_and_input_gradient(golden, file, recorded, name, kernel):
    data = golden(file)
    x = data[f"{recorded}_x"].clone().requires_grad_()
    neuron = make_neuron(name, "rectangular")
    spikes = neuron(x)[0] if kernel == "naive" else native.neuron(x, neuron.constants())
    assert torch.equal(spikes, data[f"{recorded}_spikes"])
    spikes.backward(data[f"{recorded}_g"])
    close(x.grad, data[f"{recorded}_dx"])


@pytest.mark.parametrize(("file", "recorded", "name"), NEURONS)
def test_membrane_and_gradient_when_stepped_through_the_state(golden, file, recorded, name):
    data = golden(file)
    x = data[f"{recorded}_x"].clone().requires_grad_()
    neuron, state, spikes = make_neuron(name, "rectangular"), None, []
    for t in range(len(x)):
        s, state = neuron(x[t : t + 1], state)
        spikes.append(s[0])
        close(state.membrane, data[f"{recorded}_v"][t])
        if f"{recorded}_u" in data:
            close(state.recovery, data[f"{recorded}_u"][t])
    torch.stack(spikes).backward(data[f"{recorded}_g"])
    close(x.grad, data[f"{recorded}_dx"])


def test_the_other_sign_is_another_neuron(golden):
    data = golden("neurons_baselines")
    spikes = make_neuron("dn", "rectangular")(data["DN_mdcsan_x"])[0]
    assert not torch.equal(spikes, data["DN_mdcsan_spikes"])


def test_the_learned_decay_and_its_gradient(golden):
    data = golden("neurons_baselines")
    x = data["PLIF_x"].clone().requires_grad_()
    neuron, state, membranes = make_neuron("plif", "rectangular"), None, []
    with torch.no_grad():
        neuron.w.copy_(data["PLIF_w"])
    close(torch.sigmoid(neuron.w), data["PLIF_decay"])
    spikes, _ = neuron(x)
    assert torch.equal(spikes, data["PLIF_spikes"])
    spikes.backward(data["PLIF_g"])
    close(x.grad, data["PLIF_dx"])
    close(neuron.w.grad, data["PLIF_dw"])
    for step in x.detach().split(1):
        _, state = neuron(step, state)
        membranes.append(state.membrane)
    close(torch.stack(membranes), data["PLIF_v"])
