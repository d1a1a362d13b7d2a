import pytest
import torch

from snnrl.nn.adaptive import adaptive_modules, frozen
from snnrl.nn.norm import norm_layers

from .networks import observations, tiny


def moved():
    """A network in train mode whose statistics have moved."""
    network = tiny()
    network(observations(1))
    return network


def test_the_moving_statistics_are_used_and_stay():
    network = moved()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with frozen(network):
        value = network(observations())
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    network.eval()
    assert torch.equal(value, network(observations()))
    network.train()
    assert not torch.allclose(value, network(observations()))


def test_gradients_flow():
    network = moved()
    x = observations().requires_grad_()
    with frozen(network):
        network(x).sum().backward()
    assert x.grad.abs().sum() > 0
    # The bias in front of it matters, as moving statistics do not take it away.
    assert network.layers[0].linear.bias.grad.abs().sum() > 1e-3


def test_no_mode_changes():
    network = torch.nn.Sequential(moved(), torch.nn.Dropout())
    with frozen(network):
        assert network.training
        assert network[1].training
        assert all(module.frozen for module in adaptive_modules(network))
        assert all(module.training for module in network.modules())
    assert not any(module.frozen for module in adaptive_modules(network))


def test_what_was_frozen_stays_frozen():
    network = moved()
    first, *others = norm_layers(network)
    first.frozen = True
    with frozen(network), frozen(network):
        pass
    assert first.frozen
    assert not any(layer.frozen for layer in others)
    with pytest.raises(KeyboardInterrupt), frozen(network):
        raise KeyboardInterrupt
    assert not any(layer.frozen for layer in others)
