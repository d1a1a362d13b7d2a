import pytest
import torch

from snnrl.nn.norm import frozen_statistics, norm_layers

from .networks import observations, tiny


def moved():
    """A network in train mode whose statistics have moved."""
    network = tiny()
    network(observations(1))
    return network


def test_the_moving_statistics_are_used_and_stay():
    network = moved()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with frozen_statistics(network):
        frozen = network(observations())
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    network.eval()
    assert torch.equal(frozen, network(observations()))
    network.train()
    assert not torch.allclose(frozen, network(observations()))


def test_gradients_flow():
    network = moved()
    x = observations().requires_grad_()
    with frozen_statistics(network):
        network(x).sum().backward()
    assert x.grad.abs().sum() > 0
    # The bias in front of it matters, as moving statistics do not take it away.
    assert network.layers[0].linear.bias.grad.abs().sum() > 1e-3


def test_only_normalisation_changes_its_mode():
    network = torch.nn.Sequential(moved(), torch.nn.Dropout())
    with frozen_statistics(network):
        assert network.training
        assert network[1].training
        assert not any(layer.training for layer in norm_layers(network))
    assert all(module.training for module in network.modules())


def test_each_layer_gets_its_own_mode_back():
    network = moved()
    first, *others = norm_layers(network)
    first.eval()
    with frozen_statistics(network), frozen_statistics(network):
        pass
    assert not first.training
    assert all(layer.training for layer in others)
    with pytest.raises(KeyboardInterrupt), frozen_statistics(network):
        raise KeyboardInterrupt
    assert all(layer.training for layer in others)
