"""The registered operators: their contract with torch, and what they compute on a CPU."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.ops.triton import register

from .helpers import (
    EPS,
    NEURONS,
    SCALES,
    gradients,
    make_dynamics,
    naive_neuron,
    naive_normalised,
    normal,
)

T, B, N = 5, 4, 6
LIF = make_dynamics("lif")


def leaves(*values):
    return [value.requires_grad_() for value in values]


def make(seed=0):
    gamma, beta = torch.full((N,), 0.5), torch.full((N,), 0.4)
    return leaves(normal(T, B, N, seed=seed, shift=0.3), gamma, beta)


def some_statistics():
    return normal(N, seed=4, scale=0.3), normal(N, seed=5).abs() + 0.5


def operator_calls():
    x, gamma, beta = make()
    g, plain = normal(T, B, N, seed=1), [value.detach() for value in (gamma, beta)]
    packed = register.pack(LIF)
    given = some_statistics()
    ops = torch.ops.snnrl
    backward = ops.triton_normalised_neuron_backward
    return {
        "neuron": (ops.triton_neuron, (x, *packed)),
        "neuron of images": (ops.triton_neuron, (normal(T, 2, 3, 4, 4).requires_grad_(), *packed)),
        "neuron_backward": (ops.triton_neuron_backward, (g, x.detach(), *packed)),
        "normalised_neuron": (ops.triton_normalised_neuron, (x, gamma, beta, EPS, *packed)),
        "given_neuron": (ops.triton_given_neuron, (x, *given, gamma, beta, EPS, *packed)),
        "normalised_neuron_backward": (
            backward,
            (g, x.detach(), *given, *plain, EPS, True, *packed),
        ),
        "given_neuron_backward": (backward, (g, x.detach(), *given, *plain, EPS, False, *packed)),
        "encode": (ops.triton_encode, (torch.rand(B, N, requires_grad=True), T, 0.999)),
        "encode_backward": (ops.triton_encode_backward, (g, 0.999)),
        "rates": (ops.triton_rates, (x,)),
        "rates_backward": (ops.triton_rates_backward, (g[0], T)),
    }


@pytest.mark.parametrize("name", operator_calls())
def test_opcheck(name):
    operator, arguments = operator_calls()[name]
    results = torch.library.opcheck(operator, arguments)
    assert len(results) == 4 and set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("neuron", NEURONS)
def test_dynamics_survive_packing(neuron):
    dynamics = make_dynamics(neuron, "tanh", detach_reset=True)
    assert register.unpack(*register.pack(dynamics)) == dynamics


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("surrogate", SCALES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_neuron_on_a_cpu(neuron, surrogate, detach_reset):
    dynamics = make_dynamics(neuron, surrogate, detach_reset)
    x, g = normal(T, B, N, shift=0.3).requires_grad_(), normal(T, B, N, seed=1)
    spikes, expected = register.neuron(x, dynamics), naive_neuron(x, dynamics)
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(gradients(spikes, g, x), gradients(expected, g, x))


@pytest.mark.parametrize("given", [None, some_statistics()], ids=["batch", "given"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_normalised_neuron_on_a_cpu(neuron, given):
    dynamics, tensors, g = make_dynamics(neuron), make(), normal(T, B, N, seed=1)
    x, gamma, beta = tensors
    spikes, mean, var = register.normalised_neuron(x, given, gamma, beta, EPS, dynamics)
    expected = naive_normalised(x, given, gamma, beta, dynamics)
    assert torch.equal(spikes, expected)
    for one, other in zip(
        gradients(spikes, g, *tensors), gradients(expected, g, *tensors), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert not mean.requires_grad and not var.requires_grad
    if given is None:
        torch.testing.assert_close(mean, x.detach().mean((0, 1)))
        torch.testing.assert_close(var, x.detach().var((0, 1), correction=0))
    else:
        assert mean is given[0] and var is given[1]


def test_given_statistics_get_no_gradient():
    x, gamma, beta = make()
    mean, var = leaves(*some_statistics())
    spikes, _, _ = register.normalised_neuron(x, (mean, var), gamma, beta, EPS, LIF)
    spikes.sum().backward()
    assert x.grad.abs().sum() > 0 and mean.grad is None and var.grad is None


def test_encode_is_the_encoder():
    encoder, observation = PopulationEncoder(3, T, 4), normal(B, 3)
    spikes = encoder(observation)
    distance = torch.tanh(observation).unsqueeze(-1) - encoder.mean
    drive = torch.exp(-(distance**2) / (2 * encoder.std**2)).flatten(1)
    ours = register.encode(drive, T, encoder.THRESHOLD)
    assert torch.equal(ours, spikes)
    g, parameters = normal(T, B, 12, seed=1), tuple(encoder.parameters())
    for one, other in zip(
        gradients(ours, g, *parameters), gradients(spikes, g, *parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_rates_are_a_mean_over_time():
    spikes = (normal(T, B, N) > 0).double().requires_grad_()
    assert torch.equal(register.rates(spikes), spikes.mean(0))
    assert torch.autograd.gradcheck(register.rates, spikes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types(dtype):
    x, gamma, beta = make()
    x = x.detach().to(dtype).requires_grad_()
    spikes, mean, _ = register.normalised_neuron(x, None, gamma, beta, EPS, LIF)
    rates = register.rates(spikes + register.neuron(x, LIF))
    rates.sum().backward()
    assert spikes.dtype == rates.dtype == x.grad.dtype == dtype
    assert mean.dtype == gamma.grad.dtype == torch.float32
    assert register.encode(x.detach()[0].abs(), T, 0.999).dtype == dtype


def everything(x, gamma, beta, drive):
    spikes = register.neuron(x, make_dynamics("dn", "tanh")) * 0.5
    spikes = spikes + register.encode(drive, T, 0.999)
    given = (torch.zeros(N), torch.ones(N))
    pooled, mean, _ = register.normalised_neuron(x, None, gamma, beta, EPS, LIF)
    fixed, _, _ = register.normalised_neuron(x, given, gamma, beta, EPS, LIF)
    return register.rates(spikes + pooled + fixed * 2) + mean


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_as_one_graph(backend):
    tensors = [*make(), torch.rand(B, N, requires_grad=True)]
    eager = everything(*tensors)
    torch._dynamo.reset()
    compiled = torch.compile(everything, fullgraph=True, backend=backend)(*tensors)
    torch.testing.assert_close(compiled, eager)
    g = normal(B, N, seed=1)
    for one, other in zip(
        gradients(compiled, g, *tensors), gradients(eager, g, *tensors), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_the_same_twice():
    tensors = [*make(), torch.rand(B, N, requires_grad=True)]
    g = normal(B, N, seed=1)
    first, second = everything(*tensors), everything(*tensors)
    assert torch.equal(first, second)
    pairs = zip(gradients(first, g, *tensors), gradients(second, g, *tensors), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_two_forwards_before_one_backward():
    tensors, others, g = make(), make(seed=7), normal(T, B, N, seed=1)

    def spikes(x, gamma, beta):
        return register.normalised_neuron(x, None, gamma, beta, EPS, LIF)[0]

    alone = gradients(spikes(*tensors), g, *tensors)
    first = spikes(*tensors)
    second = spikes(*others)
    together = gradients(first + 0 * second, g, *tensors)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(mode):
    tensors = [*make(), torch.rand(B, N, requires_grad=True)]
    with mode():
        values = everything(*tensors)
    assert not values.requires_grad
    assert torch.equal(values, everything(*tensors))


def saved_shapes(function):
    shapes = []

    def pack(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sorted(shapes, key=len, reverse=True)


def test_nothing_is_saved_but_x_and_vectors():
    x, gamma, beta = make()
    given, drive = some_statistics(), torch.rand(B, N, requires_grad=True)
    vectors = [(N,)] * 4
    for neuron in NEURONS:
        dynamics = make_dynamics(neuron)
        affine = (gamma, beta, EPS, dynamics)
        assert saved_shapes(lambda: register.neuron(x, dynamics)) == [(T, B, N)]  # noqa: B023
        for statistics in (None, given):
            shapes = saved_shapes(lambda: register.normalised_neuron(x, statistics, *affine))  # noqa: B023
            assert shapes == [(T, B, N), *vectors]
    assert saved_shapes(lambda: register.encode(drive, T, 0.999)) == []
    assert saved_shapes(lambda: register.rates(x)) == []
