"""The registered operators: their contract with torch, and what they compute on a CPU."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from snnrl.errors import UserError
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.readouts import PopulationDecoder
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
from .reference import register_for_a_cpu

register_for_a_cpu()

T, B, N = 5, 4, 6
LIF = make_dynamics("lif")


def leaves(*values):
    return [value.requires_grad_() for value in values]


def make(seed=0):
    gamma, beta = torch.full((N,), 0.5), torch.full((N,), 0.4)
    return leaves(normal(T, B, N, seed=seed, shift=0.3), gamma, beta)


def some_statistics():
    return normal(N, seed=4, scale=0.3), normal(N, seed=5).abs() + 0.5


def some_fields():
    """Observations [B, N], and mean and deviation of two receptive fields for each number."""
    return normal(B, N, scale=0.5), normal(N, 2, seed=1), normal(N, 2, seed=2).abs() + 0.2


def moved(posterior=False):
    state = [normal(N, seed=seed).abs() for seed in range(8 if posterior else 6)]
    return [*state, torch.tensor(True)] if posterior else state


def operator_calls():
    x, gamma, beta = make()
    g, plain = normal(T, B, N, seed=1), [value.detach() for value in (gamma, beta)]
    packed = register.pack(LIF, g.device)
    given = some_statistics()
    ops = torch.ops.snnrl
    backward = ops.triton_normalised_neuron_backward
    return {
        "neuron": (ops.triton_neuron, (x, False, *packed)),
        "neuron and counts": (ops.triton_neuron, (x, True, *packed)),
        "neuron of images": (
            ops.triton_neuron,
            (normal(T, 2, 3, 4, 4).requires_grad_(), True, *packed),
        ),
        "neuron_backward": (ops.triton_neuron_backward, (g, None, x.detach(), *packed)),
        "neuron_backward of counts": (
            ops.triton_neuron_backward,
            (None, g[0], x.detach(), *packed),
        ),
        "normalised_neuron": (ops.triton_normalised_neuron, (x, gamma, beta, EPS, False, *packed)),
        "normalised_neuron and counts": (
            ops.triton_normalised_neuron,
            (x, gamma, beta, EPS, True, *packed),
        ),
        "given_neuron": (ops.triton_given_neuron, (x, *given, gamma, beta, EPS, False, *packed)),
        "given_neuron and counts": (
            ops.triton_given_neuron,
            (x, *given, gamma, beta, EPS, True, *packed),
        ),
        "normalised_neuron_backward": (
            backward,
            (g, g[0], x.detach(), *given, *plain, EPS, True, *packed),
        ),
        "given_neuron_backward": (
            backward,
            (g, None, x.detach(), *given, *plain, EPS, False, *packed),
        ),
        "encode": (ops.triton_encode, (torch.rand(B, N, requires_grad=True), T, 0.999)),
        "encode_backward": (ops.triton_encode_backward, (g, 0.999)),
        "encode_fields": (ops.triton_encode_fields, (*leaves(*some_fields()), T, 0.999)),
        "encode_fields_backward": (
            ops.triton_encode_fields_backward,
            (normal(T, B, 2 * N), *some_fields(), 0.999, True, True),
        ),
        "encode_fields_backward of the fields": (
            ops.triton_encode_fields_backward,
            (normal(T, B, 2 * N), *some_fields(), 0.999, False, True),
        ),
        "decode": (ops.triton_decode, (*leaves(g[0].abs(), normal(2, N // 2), normal(2)), T)),
        "decode_backward": (
            ops.triton_decode_backward,
            (normal(B, 2), g[0].abs(), normal(2, N // 2), T),
        ),
        "move_statistics": (
            ops.triton_move_statistics,
            (moved(), list(some_statistics()), "published", 0.8, 255.0, None),
        ),
        "move_statistics of two layers": (
            ops.triton_move_statistics,
            (
                moved(posterior=True) + moved(posterior=True),
                [*some_statistics(), *some_statistics()],
                "kalman",
                0.8,
                255.0,
                0.1,
            ),
        ),
    }


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", operator_calls())
def test_opcheck(name):
    operator, arguments = operator_calls()[name]
    results = torch.library.opcheck(operator, arguments)
    assert len(results) == 4 and set(results.values()) == {"SUCCESS"}


def test_a_number_is_put_on_a_device_once():
    first, second = (register.pack(LIF, torch.device("cpu")) for _ in range(2))
    assert [value.item() for value in first[:2]] == [0.5, 0.5]
    assert first[0] is second[0] and first[1] is second[1]


def test_a_tensor_is_taken_as_it_is():
    threshold, scale = torch.tensor(0.4), torch.tensor(0.3)
    dynamics = LIF._replace(threshold=threshold, surrogate=LIF.surrogate._replace(scale=scale))
    packed = register.pack(dynamics, torch.device("cpu"))
    assert packed[0] is threshold and packed[1] is scale


@pytest.mark.parametrize(
    "threshold",
    [torch.full((1,), 0.4), torch.tensor(0.4, dtype=torch.float64), torch.empty((), device="meta")],
)
def test_another_tensor_is_refused(threshold):
    dynamics = LIF._replace(threshold=threshold)
    with pytest.raises(UserError, match=r"^kernel=triton: takes a threshold of float32 without"):
        register.neuron(make()[0], dynamics)


def test_a_threshold_that_is_to_get_a_gradient_is_refused():
    dynamics = LIF._replace(threshold=torch.tensor(0.4, requires_grad=True))
    with pytest.raises(
        UserError, match=r"^kernel=triton: cannot compute the gradient of the threshold.*naive"
    ):
        register.neuron(make()[0], dynamics)
    with torch.no_grad():
        register.neuron(make()[0], dynamics)


def test_a_threshold_that_moves_before_the_gradient_is_refused():
    threshold = torch.tensor(0.4)
    spikes, _ = register.neuron(make()[0], LIF._replace(threshold=threshold))
    threshold.add_(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("surrogate", SCALES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_neuron_on_a_cpu(neuron, surrogate, detach_reset):
    dynamics = make_dynamics(neuron, surrogate, detach_reset)
    x, g = normal(T, B, N, shift=0.3).requires_grad_(), normal(T, B, N, seed=1)
    spikes, expected = register.neuron(x, dynamics)[0], naive_neuron(x, dynamics)
    assert torch.equal(spikes, expected)
    torch.testing.assert_close(gradients(spikes, g, x), gradients(expected, g, x))


@pytest.mark.parametrize("given", [None, some_statistics()], ids=["batch", "given"])
@pytest.mark.parametrize("neuron", NEURONS)
def test_normalised_neuron_on_a_cpu(neuron, given):
    dynamics, tensors, g = make_dynamics(neuron), make(), normal(T, B, N, seed=1)
    x, gamma, beta = tensors
    spikes, mean, var, _ = register.normalised_neuron(x, given, gamma, beta, EPS, dynamics)
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
    spikes, *_ = register.normalised_neuron(x, (mean, var), gamma, beta, EPS, LIF)
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


@pytest.mark.parametrize("frozen", [False, True])
def test_fields_are_the_encoder(frozen):
    encoder, observation = PopulationEncoder(3, T, 4).requires_grad_(not frozen), normal(B, 3)
    observation.requires_grad_()
    spikes = encoder(observation)
    ours = register.encode_fields(
        torch.tanh(observation), encoder.mean, encoder.std, T, encoder.THRESHOLD
    )
    assert torch.equal(ours, spikes)
    g, parameters = normal(T, B, 12, seed=1), tuple(encoder.parameters())
    of = (observation, *(() if frozen else parameters))
    for one, other in zip(gradients(ours, g, *of), gradients(spikes, g, *of), strict=True):
        torch.testing.assert_close(one, other)


def test_decode_is_the_readout():
    decoder, counts = PopulationDecoder(2, 3), normal(B, 6).abs().requires_grad_()
    ours, theirs = register.decode(counts, decoder.weight, decoder.bias, T), decoder.read(counts, T)
    torch.testing.assert_close(ours, theirs)
    g, of = normal(B, 2, seed=1), (counts, decoder.weight, decoder.bias)
    for one, other in zip(gradients(ours, g, *of), gradients(theirs, g, *of), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types(dtype):
    x, gamma, beta = make()
    x = x.detach().to(dtype).requires_grad_()
    spikes, mean, _, counts = register.normalised_neuron(x, None, gamma, beta, EPS, LIF, True)
    (counts + register.neuron(x, LIF)[0].sum(0)).sum().backward()
    assert spikes.dtype == counts.dtype == x.grad.dtype == dtype
    assert mean.dtype == gamma.grad.dtype == torch.float32
    assert register.encode(x.detach()[0].abs(), T, 0.999).dtype == dtype


def everything(x, gamma, beta, drive):
    spikes = register.neuron(x, make_dynamics("dynamic", "tanh"))[0] * 0.5
    spikes = spikes + register.encode(drive, T, 0.999)
    given = (torch.zeros(N), torch.ones(N))
    pooled, mean, *_ = register.normalised_neuron(x, None, gamma, beta, EPS, LIF)
    fixed, *_, counts = register.normalised_neuron(x, given, gamma, beta, EPS, LIF, counts=True)
    coded = register.encode_fields(drive, gamma.unsqueeze(1), beta.unsqueeze(1), T, 0.999)
    decoded = register.decode(counts, gamma.view(2, -1), beta[:2], T)
    summed = (spikes + pooled + fixed * 2 + coded).mean(0) + mean + counts * 0.1
    return summed + decoded.sum(1, keepdim=True)


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
    vectors, operands = [(N,)] * 4, [()] * 2
    for neuron in NEURONS:
        dynamics = make_dynamics(neuron)
        affine = (gamma, beta, EPS, dynamics)
        assert saved_shapes(lambda: register.neuron(x, dynamics)) == [(T, B, N), *operands]  # noqa: B023
        for statistics in (None, given):
            shapes = saved_shapes(lambda: register.normalised_neuron(x, statistics, *affine))  # noqa: B023
            assert shapes == [(T, B, N), *vectors, *operands]
    assert saved_shapes(lambda: register.encode(drive, T, 0.999)) == []
    fields = leaves(*some_fields())
    shapes = saved_shapes(lambda: register.encode_fields(*fields, T, 0.999))
    assert shapes == [(B, N), (N, 2), (N, 2)]
