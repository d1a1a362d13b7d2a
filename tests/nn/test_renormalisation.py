import pytest
import torch

from snnrl.nn.norm import norm_layers

from .networks import observations, tiny
from .parts import make_norm


def layers(shape):
    """A layer that renormalises and one in training mode, with the same statistics."""
    made = []
    for _ in range(2):
        layer = make_norm("vanilla", shape[2])
        layer.moving_mean.copy_(torch.tensor([0.5, -1.0, 2.0]))
        layer.moving_var.copy_(torch.tensor([4.0, 0.25, 1.0]))
        made.append(layer)
    made[0].eval().renormalises = True
    return made


def inputs(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("shape", [(4, 8, 3), (4, 8, 3, 5, 5)])
def test_the_value_is_that_of_the_moving_statistics_and_moves_nothing(shape):
    layer, _ = layers(shape)
    x = inputs(shape)
    before = layer.moving_mean.clone(), layer.moving_var.clone()
    renormalised = layer(x)
    with torch.no_grad():
        assert torch.equal(layer(x), renormalised)
    layer.renormalises = False
    assert torch.equal(layer(x), renormalised)
    assert torch.equal(layer.moving_mean, before[0])
    assert torch.equal(layer.moving_var, before[1])


@pytest.mark.parametrize("shape", [(4, 8, 3), (4, 8, 3, 5, 5)])
def test_the_gradient_is_the_batchs_times_the_ratio_of_deviations(shape):
    layer, training = layers(shape)
    x, upstream = inputs(shape), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    (ours,) = torch.autograd.grad(layer(x), x, upstream)
    (batchs,) = torch.autograd.grad(training(x), x, upstream)
    dims = (0, 1, *range(3, len(shape)))
    var = x.detach().var(dims, correction=0)
    r = torch.sqrt((var + layer.eps) / (layer.moving_var + layer.eps))
    torch.testing.assert_close(ours, batchs * r.view(-1, *[1] * (len(shape) - 3)))
    # Nothing is learned from a shift of a whole feature.
    torch.testing.assert_close(ours.sum(dims), torch.zeros(3), atol=1e-5, rtol=0)


def test_gamma_and_beta_learn_from_what_the_value_is():
    layer, _ = layers((4, 8, 3))
    x = inputs((4, 8, 3)).detach()
    layer(x).sum().backward()
    normalised = (x - layer.moving_mean) / torch.sqrt(layer.moving_var + layer.eps)
    torch.testing.assert_close(layer.gamma.grad, normalised.sum((0, 1)))
    torch.testing.assert_close(layer.beta.grad, torch.full((3,), 32.0))


@pytest.mark.slow
def test_compiled():
    results = {}
    for kernel in ("naive", "compile"):
        network = tiny("vanilla", kernel=kernel).eval()
        for layer in norm_layers(network):
            layer.renormalises = True
            layer.moving_var.fill_(0.5)
        values = network(observations())
        values.sum().backward()
        gradients = {n: p.grad for n, p in network.named_parameters() if "linear.bias" not in n}
        with torch.no_grad():
            assert torch.equal(network(observations()), values)
        results[kernel] = values.detach(), gradients
    torch.testing.assert_close(*(values for values, _ in results.values()))
    torch.testing.assert_close(*(gradients for _, gradients in results.values()))
