"""The C++ operators against autograd of the naive ones."""

import pytest
import torch
import torch.nn.functional as F

from snnrl.errors import UserError
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.ops import native
from snnrl.ops.dynamics import FusedLayer
from snnrl.ops.native import calls
from tests.nn.parts import FUSED_NEURONS, FUSED_SURROGATES, make_neuron

CLOSE = dict(rtol=1e-4, atol=1e-5)
EPS = 1e-5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0, scale=1.0, shift=0.0):
    return torch.randn(*shape, generator=generator(seed)) * scale + shift


def neuron_of(name="lif", surrogate="rectangular", detach_reset=False):
    return make_neuron(dict(name=name, detach_reset=detach_reset), surrogate)


def both(neuron, x, g):
    """Spikes and gradient of x by the naive and by the fused operator."""
    results = []
    for fire in (lambda x: neuron(x)[0], lambda x: native.neuron(x, neuron.constants())):
        leaf = x.detach().clone().requires_grad_()
        spikes = fire(leaf)
        spikes.backward(g)
        results.append((spikes.detach(), leaf.grad))
    return results


def assert_same(neuron, x, g):
    (spikes, gradient), (own_spikes, own_gradient) = both(neuron, x, g)
    assert torch.equal(own_spikes, spikes)
    torch.testing.assert_close(own_gradient, gradient, **CLOSE)
    return spikes


# 1, 64 and 130 neurons: less than a block, one, and two with a rest.
@pytest.mark.quick_cases(52)
@pytest.mark.parametrize("shape", [(5, 1, 1), (5, 4, 16), (1, 3, 65), (7, 2, 65), (40, 3, 5)])
@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("surrogate", FUSED_SURROGATES)
@pytest.mark.parametrize("name", FUSED_NEURONS)
def test_neuron(name, surrogate, detach_reset, shape):
    x, g = draw(*shape, scale=0.6, shift=0.2), draw(*shape, seed=1)
    spikes = assert_same(neuron_of(name, surrogate, detach_reset), x, g)
    assert shape == (5, 1, 1) or 0.05 < spikes.mean() < 0.95


@pytest.mark.parametrize("name", FUSED_NEURONS)
@pytest.mark.parametrize("shape", [(4, 3, 2, 5, 3), (4, 6)])
def test_neuron_of_any_shape(name, shape):
    assert_same(neuron_of(name), draw(*shape, shift=0.3), draw(*shape, seed=1))


def test_a_membrane_on_the_threshold_does_not_spike():
    x = torch.tensor([0.5, 0.49999997, 0.50000006]).expand(3, 1, 3)
    spikes = assert_same(neuron_of(), x, torch.ones(3, 1, 3))
    assert spikes[0, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("value", [-3.0, 1.0, 1e6, float("inf"), float("nan")])
def test_any_input(value):
    x = torch.full((4, 2, 3), value)
    naive, own = (neuron_of()(x)[0], native.neuron(x, neuron_of().constants()))
    assert torch.equal(own, naive)


@pytest.mark.parametrize(
    "layout",
    [
        lambda g: g.transpose(1, 2).contiguous().transpose(1, 2),
        lambda g: g[:1].expand(6, -1, -1),
        lambda g: g[:, :1].expand(-1, 4, -1),
        lambda g: g[0, 0, 0].expand(6, 4, 10),
        lambda g: torch.stack([g, g], dim=-1)[..., 0],
    ],
)
def test_gradients_of_any_layout(layout):
    x, g = draw(6, 4, 10, shift=0.2), layout(draw(6, 4, 10, seed=1))
    assert_same(neuron_of(), x, g)
    assert_same(neuron_of(), x.transpose(1, 2).contiguous().transpose(1, 2), g)


def test_two_passes_before_one_gradient():
    neuron = neuron_of()
    first, second = (draw(5, 3, 9, seed=s, shift=0.3).requires_grad_() for s in (0, 1))
    a, b = (native.neuron(x, neuron.constants()) for x in (first, second))
    (a.sum() + 2 * b.sum()).backward()
    for x, factor in ((first, 1), (second, 2)):
        leaf = x.detach().clone().requires_grad_()
        (factor * neuron(leaf)[0].sum()).backward()
        torch.testing.assert_close(x.grad, leaf.grad, **CLOSE)


def normalised(neuron, x, given, gamma, beta):
    """The specification, by torch."""
    if given is None:
        var, mean = torch.var_mean(x, dim=(0, 1), correction=0)
    else:
        mean, var = given
    y = (x - mean) / torch.sqrt(var + EPS) * gamma + beta
    return neuron(y)[0], mean.detach(), var.detach()


@pytest.mark.parametrize("shape", [(5, 7, 3), (3, 50, 64), (2, 9, 130), (1, 4, 5), (5, 1, 12)])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    ("name", "surrogate"), [("lif", "rectangular"), ("clif", "triangle"), ("dn", "sigmoid")]
)
def test_normalised_neuron(name, surrogate, given, shape):
    neuron = neuron_of(name, surrogate)
    features = shape[2]
    statistics = (draw(features, seed=2), draw(features, seed=3).abs() + 0.5) if given else None
    g = draw(*shape, seed=1)
    results = []
    for fire in (
        lambda x, gamma, beta: normalised(neuron, x, statistics, gamma, beta),
        lambda x, gamma, beta: native.normalised_neuron(
            x, FusedLayer(statistics, gamma, beta, EPS, neuron.constants())
        ),
    ):
        leaves = [
            draw(*shape, scale=2, shift=1),
            draw(features, seed=4, scale=0.1, shift=0.3),
            draw(features, seed=5, scale=0.1, shift=0.3),
        ]
        for leaf in leaves:
            leaf.requires_grad_()
        spikes, mean, var = fire(*leaves)
        assert not mean.requires_grad
        spikes.backward(g)
        results.append((spikes.detach(), mean, var, *(leaf.grad for leaf in leaves)))
    naive, own = results
    assert torch.equal(own[0], naive[0])
    for ours, theirs in zip(own[1:], naive[1:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_statistics_far_from_zero_keep_their_digits():
    x = draw(5, 256, 3, scale=0.01, shift=100.0)
    neuron = neuron_of()
    one = torch.ones(3)
    _, mean, var = native.normalised_neuron(x, FusedLayer(None, one, one, EPS, neuron.constants()))
    exact = x.double()
    torch.testing.assert_close(mean, exact.mean((0, 1)).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(var, exact.var((0, 1), correction=0).float(), rtol=1e-2, atol=0)


def test_moving_statistics_may_move_before_the_gradient():
    neuron, mean, var = neuron_of(), torch.zeros(4), torch.ones(4)
    x, gamma = draw(3, 5, 4).requires_grad_(), torch.ones(4)
    spikes, *_ = native.normalised_neuron(
        x, FusedLayer((mean, var), gamma, gamma, EPS, neuron.constants())
    )
    mean.add_(5)
    spikes.sum().backward()
    leaf = x.detach().clone().requires_grad_()
    normalised(neuron, leaf, (torch.zeros(4), var), gamma, gamma)[0].sum().backward()
    torch.testing.assert_close(x.grad, leaf.grad, **CLOSE)


# Around the blocks: 32 outputs, 128 rows, 16 inputs; 5 rows are too few for events.
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(5, 3, 4), (16, 1, 1), (30, 16, 32), (129, 17, 33), (260, 40, 60)],
)
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_spike_linear(rows, inputs, outputs, rate):
    spikes = (torch.rand(1, rows, inputs, generator=generator()) < rate).float()
    results = []
    for product in (F.linear, native.spike_linear):
        leaves = [spikes.clone(), draw(outputs, inputs, seed=1), draw(outputs, seed=2)]
        for leaf in leaves:
            leaf.requires_grad_()
        y = product(*leaves)
        y.backward(draw(1, rows, outputs, seed=3))
        results.append((y.detach(), *(leaf.grad for leaf in leaves)))
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_spike_linear_without_bias_and_with_gradients_of_any_layout():
    spikes = (torch.rand(4, 8, 5, generator=generator()) < 0.3).float()
    weight = draw(6, 5).requires_grad_()
    native.spike_linear(spikes, weight, None).sum().backward()
    torch.testing.assert_close(weight.grad, spikes.sum((0, 1)).expand(6, 5))


@pytest.mark.parametrize("time_steps", [1, 2, 5, 40])
def test_encoded_linear(time_steps):
    """Gradient of the drive: one product of weighted sums stands for one product a step."""
    encoder = PopulationEncoder(3, time_steps, population=4)
    observations = draw(20, 3)
    results = []
    for fused in (False, True):
        encoder.zero_grad()
        weight, bias = draw(7, 12, seed=1).requires_grad_(), draw(7, seed=2).requires_grad_()
        currents = (
            native.encoded_linear(
                encoder.drive(observations), time_steps, encoder.THRESHOLD, weight, bias
            )
            if fused
            else F.linear(encoder(observations), weight, bias)
        )
        currents.backward(draw(time_steps, 20, 7, seed=3))
        gradients = (weight.grad, bias.grad, encoder.mean.grad.clone(), encoder.std.grad.clone())
        results.append((currents.detach(), *gradients))
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_nothing_but_the_currents_is_kept_of_a_layer():
    x = draw(5, 8, 6).requires_grad_()
    gamma, dynamics = torch.ones(6), neuron_of("dn").constants()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        native.neuron(x, dynamics)
        native.normalised_neuron(x, FusedLayer(None, gamma, gamma, EPS, dynamics))
    assert [t.numel() for t in kept if t.numel() > 6] == [x.numel()] * 2
    assert all(t.data_ptr() == x.data_ptr() for t in kept if t.numel() > 6)


def test_a_layer_that_fires_into_the_next_keeps_no_spikes():
    x = draw(5, 8, 6).requires_grad_()
    gamma, dynamics, weight = torch.ones(6), neuron_of().constants(), draw(3, 6, seed=1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer = FusedLayer(None, gamma, gamma, EPS, dynamics)
        native.fire_linear(x, layer, weight, None)
        native.fire_counts(x, layer)
    large = [t for t in kept if t.numel() >= x.numel() and t.dtype == torch.float32]
    assert [t.data_ptr() for t in large] == [x.data_ptr()] * 2


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("batch", "features"), [(1, 5), (40, 70), (9, 300)])
def test_firing_into_the_next_layer_and_into_counts(given, batch, features):
    dynamics, statistics = neuron_of("clif").constants(), None
    if given:
        statistics = (draw(features, seed=2), draw(features, seed=3).abs() + 0.5)
    results = []
    for fused in (False, True):
        x, gamma, beta = (
            draw(4, batch, features, scale=2, shift=1).requires_grad_(),
            draw(features, seed=4, scale=0.1, shift=0.3).requires_grad_(),
            draw(features, seed=5, scale=0.1, shift=0.3).requires_grad_(),
        )
        weight, bias = draw(7, features, seed=6).requires_grad_(), draw(7, seed=7).requires_grad_()
        layer = FusedLayer(statistics, gamma, beta, EPS, dynamics)
        if fused:
            currents, mean, var = native.fire_linear(x, layer, weight, bias)
            counted, *_ = native.fire_counts(x, layer)
        else:
            spikes, mean, var = native.normalised_neuron(x, layer)
            currents, counted = F.linear(spikes, weight, bias), spikes.sum(0)
        loss = (currents * draw(4, batch, 7, seed=8)).sum()
        (loss + (counted * draw(batch, features, seed=9)).sum()).backward()
        gradients = [leaf.grad for leaf in (x, gamma, beta, weight, bias)]
        results.append([currents.detach(), counted.detach(), mean, var, *gradients])
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_too_many_inputs_for_the_indices_are_refused():
    with pytest.raises(UserError, match=r"^kernel=native: 16 x 65537 spikes .*kernel=naive$"):
        native.spike_linear(torch.zeros(1, 16, 2**16 + 1), torch.zeros(1, 2**16 + 1), None)


def test_the_same_bits_every_time():
    x, gamma = draw(5, 300, 70), torch.full((70,), 0.3)
    dynamics = neuron_of().constants()

    def once():
        leaf = x.clone().requires_grad_()
        spikes, mean, var = native.normalised_neuron(
            leaf, FusedLayer(None, gamma, gamma, EPS, dynamics)
        )
        weight = draw(9, 70, seed=2).requires_grad_()
        native.spike_linear(spikes, weight, None).backward(draw(5, 300, 9, seed=3))
        return spikes, mean, var, leaf.grad, weight.grad

    for first, second in zip(once(), once(), strict=True):
        assert torch.equal(first, second)


def test_without_gradients_nothing_is_recorded():
    with torch.no_grad():
        spikes = native.neuron(draw(3, 2, 4, shift=0.5).requires_grad_(), neuron_of().constants())
    assert spikes.grad_fn is None
    assert spikes.sum() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_are_refused(dtype):
    with pytest.raises(UserError, match=r"^kernel=native: takes float32 on a CPU.*kernel=naive"):
        native.neuron(torch.zeros(2, 3, dtype=dtype), neuron_of().constants())


@pytest.mark.parametrize(
    "call",
    [
        lambda d: native.normalised_neuron(
            draw(2, 3, 5), FusedLayer(None, torch.ones(4), torch.ones(5), EPS, d)
        ),
        lambda d: native.normalised_neuron(
            draw(2, 3, 5),
            FusedLayer((torch.ones(5), torch.ones(6)), torch.ones(5), torch.ones(5), EPS, d),
        ),
        lambda d: native.spike_linear(torch.ones(2, 30, 5), draw(4, 6), None),
        lambda d: native.spike_linear(torch.ones(2, 30, 5), draw(4, 5), draw(3)),
        lambda d: native.encoded_linear(draw(20, 5).abs(), 3, 0.999, draw(4, 6), None),
        lambda d: native.infer(
            draw(3, 4), 2, None, [native.InferenceLayer(draw(4, 5), None, None, EPS, d)]
        ),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(ValueError, match=r"^expected a tensor of shape \("):
        call(neuron_of().constants())


def test_weights_of_any_layout():
    spikes = (torch.rand(2, 30, 5, generator=generator()) < 0.4).float()
    weight = draw(5, 4).t()
    torch.testing.assert_close(native.spike_linear(spikes, weight, None), spikes @ weight.t())
    affine = torch.tensor(0.4).expand(5)
    x, dynamics = draw(2, 30, 5), neuron_of().constants()
    spikes, *_ = native.normalised_neuron(x, FusedLayer(None, affine, affine, EPS, dynamics))
    plain = affine.contiguous()
    assert torch.equal(
        spikes, native.normalised_neuron(x, FusedLayer(None, plain, plain, EPS, dynamics))[0]
    )


def test_second_derivatives_are_refused():
    x = draw(3, 4, 5).requires_grad_()
    spikes = native.neuron(x, neuron_of(surrogate="sigmoid").constants())
    with pytest.raises(RuntimeError, match=r"^kernel=native: has no second derivatives"):
        torch.autograd.grad(spikes.sum(), x, create_graph=True)


def test_memory_that_is_not_there_is_an_error_of_python(monkeypatch):
    class Full:
        @staticmethod
        def snn_neuron_forward(*_):
            return 1

    monkeypatch.setattr(calls, "library", lambda: Full)
    with pytest.raises(MemoryError, match=r"^kernel=native: no memory for snn_neuron_forward"):
        native.neuron(draw(2, 3), neuron_of().constants())
