import pytest
import torch

from snnrl.nn.activity import activity
from snnrl.nn.encoders.population import PopulationEncoder

from .networks import observations, tiny

NAMES = ["encoder", "layers.0", "layers.1", "layers.2"]


def test_rates_are_means_of_spikes():
    network = tiny().eval()
    x = observations()
    rates = activity(network, x).rates
    assert list(rates) == NAMES
    spikes = network.encoder(x)
    assert rates["encoder"] == pytest.approx(spikes.mean().item())
    for name, layer in zip(NAMES[1:], network.layers, strict=True):
        spikes = layer(spikes)
        assert rates[name] == pytest.approx(spikes.mean().item())
        assert 0 < rates[name] < 1


def test_a_silent_and_a_saturated_layer():
    network = tiny("none")
    for layer, bias in zip(network.layers, (-100.0, 100.0, 100.0), strict=True):
        torch.nn.init.zeros_(layer.linear.weight)
        torch.nn.init.constant_(layer.linear.bias, bias)
    rates = activity(network, observations()).rates
    assert [rates[name] for name in NAMES[1:]] == [0.0, 1.0, 1.0]


def test_currents_of_direct_coding_are_no_spikes():
    assert list(activity(tiny(encoder="direct"), observations()).rates) == NAMES[1:]


@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_the_network_changes(training):
    network = tiny().train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    activity(network, observations())
    assert all(module.training is training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    ("size", "share"), [(0.0, 0.0), (2.6, 0.0), (2.7, 1.0), (-100.0, 1.0), (float("inf"), 1.0)]
)
def test_saturation_of_a_population_code(size, share):
    network = tiny().eval()
    x = torch.full_like(observations(), size)
    assert activity(network, x).saturation == {"encoder": share}
    x[:, 0] = 0
    assert activity(network, x).saturation["encoder"] == pytest.approx(share * (1 - 1 / x.shape[1]))
    assert activity(tiny(encoder="direct"), x).saturation == {}


def test_scaled_bytes_do_not_saturate():
    encoder = PopulationEncoder(3, 2, input_range=(0, 255))
    assert encoder.saturation(torch.full((4, 3), 255.0)) == 0
