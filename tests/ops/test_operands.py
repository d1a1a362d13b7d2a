"""Threshold and scale of the surrogate are operands: numbers, or tensors that may move."""

import pytest
import torch

from snnrl.errors import UserError
from snnrl.ops import native
from snnrl.ops.dynamics import Dynamics, FusedLayer, run
from snnrl.ops.surrogate import DERIVATIVES, Surrogate, spike

from .triton.helpers import EPS, NEURONS, make_dynamics, normal

T, B, N = 5, 4, 6


def moved(dynamics: Dynamics, threshold, scale) -> Dynamics:
    return dynamics._replace(
        threshold=threshold, surrogate=dynamics.surrogate._replace(scale=scale)
    )


def naive(x, dynamics):
    return run(x, dynamics)[0]


@pytest.mark.parametrize("operator", [naive, native.neuron])
@pytest.mark.parametrize("surrogate", DERIVATIVES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_a_tensor_is_the_number_in_it(neuron, surrogate, operator):
    start = make_dynamics(neuron, surrogate)
    threshold, scale = torch.tensor(0.0), torch.tensor(0.0)
    for numbers in ((0.5, 0.25), (0.875, 1.5)):
        results = []
        threshold.fill_(numbers[0])
        scale.fill_(numbers[1])
        for operands in (numbers, (threshold, scale)):
            x = normal(T, B, N, shift=0.3).requires_grad_()
            spikes = operator(x, moved(start, *operands))
            spikes.backward(normal(T, B, N, seed=1))
            results.append((spikes.detach(), x.grad))
        assert 0 < results[0][0].mean() < 1
        for one, other in zip(*results, strict=True):
            assert torch.equal(one, other)


def test_naive_gradient_of_the_threshold_is_that_of_the_membrane_with_the_other_sign():
    v = normal(7, 3).requires_grad_()
    threshold = torch.tensor([0.5, 0.1, -0.2], requires_grad=True)
    g = normal(7, 3, seed=1)
    spike(v, threshold, Surrogate("triangle", 0.8)).backward(g)
    assert v.grad.abs().sum() > 0
    torch.testing.assert_close(threshold.grad, -v.grad.sum(0))


@pytest.mark.parametrize("which", [0, 1])
def test_naive_refuses_the_gradient_of_an_operand_that_has_moved(which):
    operands = torch.tensor(0.5), torch.tensor(0.5)
    x = normal(T, B, N).requires_grad_()
    spikes = naive(x, moved(make_dynamics("lif"), *operands))
    operands[which].add_(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


LAYER = torch.full((N,), 0.4)
NATIVE = {
    "neuron": lambda x, d: native.neuron(x, d),
    "normalised_neuron": lambda x, d: native.normalised_neuron(x, layer(d))[0],
    "fire_linear": lambda x, d: native.fire_linear(x, layer(d), torch.eye(N), None)[0],
    "fire_counts": lambda x, d: native.fire_counts(x, layer(d))[0],
}


def layer(dynamics):
    return FusedLayer(None, LAYER, LAYER, EPS, dynamics)


@pytest.mark.parametrize("name", NATIVE)
def test_native_takes_them_as_they_are_at_the_call(name):
    gradients = []
    for moves in (False, True):
        operands = torch.tensor(0.5), torch.tensor(0.5)
        x = normal(T, B, N).requires_grad_()
        output = NATIVE[name](x, moved(make_dynamics("clif"), *operands))
        for operand in operands:
            operand.add_(0.3 if moves else 0)
        output.sum().backward()
        gradients.append(x.grad)
    assert gradients[0].abs().sum() > 0
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", NATIVE)
def test_native_refuses_a_threshold_that_is_to_get_a_gradient(name):
    threshold = torch.tensor(0.5, requires_grad=True)
    dynamics = moved(make_dynamics("lif"), threshold, 0.5)
    with pytest.raises(
        UserError, match=r"^kernel=native: cannot compute the gradient of the threshold.*naive"
    ):
        NATIVE[name](normal(T, B, N), dynamics)
    with torch.no_grad():
        NATIVE[name](normal(T, B, N), dynamics)


def test_inference_reads_the_threshold_each_time():
    threshold = torch.tensor(0.5)
    dynamics = moved(make_dynamics("lif"), threshold, 0.5)
    layers = [native.InferenceLayer(torch.eye(N), None, None, 0.0, dynamics)]
    x = torch.full((1, N), 0.6)
    assert native.infer(x, T, None, layers).sum() == T * N
    threshold.fill_(100.0)
    assert native.infer(x, T, None, layers).sum() == 0
