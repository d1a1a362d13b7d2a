"""The fused normalisation and neuron in Triton's interpreter, against autograd of the formula.

``owned``: a program owns all rows of its channels; ``split``: the form for large batches.
"""

import pytest
import torch

from snnrl.ops.surrogate import Surrogate
from snnrl.ops.triton import launch, normalised

from ..helpers import EPS, NEURONS, gradients, make_dynamics, naive_normalised, normal
from .launchers import compiled, given_forward, gradients_of_normalised, normalised_forward


@pytest.fixture(params=["owned", "split"])
def path(request, monkeypatch):
    if request.param == "split":
        monkeypatch.setattr(normalised, "LARGEST_OWNED", 0)
    return request.param


def make(*shape):
    gamma, beta = (normal(shape[2], seed=seed, scale=0.2, shift=0.6) for seed in (2, 3))
    return normal(*shape, scale=1.5, shift=0.7), normal(*shape, seed=1), gamma, beta


def check_pooled(x, g, gamma, beta, dynamics, eps=EPS, tolerance=1e-4):
    leaves = [value.detach().float().requires_grad_() for value in (x, gamma, beta)]
    spikes = naive_normalised(leaves[0], None, *leaves[1:], dynamics, eps)
    expected = gradients(spikes, g.float(), *leaves)
    fired, mean, var = normalised_forward(x, gamma, beta, eps, dynamics)
    actual = gradients_of_normalised(g, x, mean, var, gamma, beta, eps, True, dynamics)
    double = x.double()
    torch.testing.assert_close(mean.double(), double.mean((0, 1)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(var.double(), double.var((0, 1), correction=0), rtol=1e-5, atol=1e-7)
    check(fired, spikes, actual, expected, x, tolerance)


def check_given(x, g, gamma, beta, statistics, dynamics, eps=EPS, tolerance=1e-4):
    leaves = [value.detach().float().requires_grad_() for value in (x, gamma, beta)]
    spikes = naive_normalised(leaves[0], statistics, *leaves[1:], dynamics, eps)
    expected = gradients(spikes, g.float(), *leaves)
    fired = given_forward(x, *statistics, gamma, beta, eps, dynamics)
    actual = gradients_of_normalised(g, x, *statistics, gamma, beta, eps, False, dynamics)
    check(fired, spikes, actual, expected, x, tolerance)


def check(fired, spikes, actual, expected, x, tolerance):
    assert fired.dtype == actual[0].dtype == x.dtype
    assert torch.equal(fired.float(), spikes)
    for one, other in zip(actual, expected, strict=True):
        assert other.isfinite().all() and one.is_contiguous()
        torch.testing.assert_close(one.float(), other, rtol=tolerance, atol=tolerance)


def some_statistics(features):
    return normal(features, seed=4, scale=0.3), normal(features, seed=5).abs() + 0.5


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("neuron", NEURONS)
def test_statistics_of_the_batch(path, neuron, detach_reset):
    check_pooled(*make(5, 6, 11), make_dynamics(neuron, "rectangular", detach_reset))


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("neuron", NEURONS)
def test_statistics_given(neuron, detach_reset):
    dynamics = make_dynamics(neuron, "rectangular", detach_reset)
    check_given(*make(5, 6, 11), some_statistics(11), dynamics)


@pytest.mark.parametrize(
    "shape", [(1, 6, 11), (5, 1, 11), (1, 1, 3), (9, 5, 33), (5, 20, 3), (33, 4, 3)]
)
def test_shapes(path, shape):
    check_pooled(*make(*shape), make_dynamics("lif", "sigmoid"))
    check_given(*make(*shape), some_statistics(shape[2]), make_dynamics("lif", "sigmoid"))


def test_many_blocks_of_rows(path):
    # More than a tile of rows a program: 2 * 512 / 8 where it owns them, 16 where it does not.
    check_pooled(*make(2, 135, 3), make_dynamics("clif"))
    check_given(*make(2, 135, 3), some_statistics(3), make_dynamics("clif"))


def test_parts_of_several_tiles(monkeypatch):
    monkeypatch.setattr(launch, "MOST_SPLITS", 4)
    monkeypatch.setattr(normalised, "LARGEST_OWNED", 0)
    assert launch.split_rows(150, 16) == (38, 4)
    check_pooled(*make(1, 150, 2), make_dynamics("lif"))
    check_given(*make(1, 150, 2), some_statistics(2), make_dynamics("lif"))


def test_the_largest_batch_that_is_owned(monkeypatch):
    """The two forms agree, and the limit decides between them."""
    split = []
    parts = normalised.split_moments
    monkeypatch.setattr(
        normalised, "split_moments", lambda x: split.append(tuple(x.shape)) or parts(x)
    )
    monkeypatch.setattr(normalised, "LARGEST_OWNED", 12)
    for batch in (4, 5):
        check_pooled(*make(3, batch, 5), make_dynamics("lif"))
    assert split == [(3, 5, 5)]


def test_a_mean_far_from_zero_does_not_cancel_the_variance(path):
    x, _, gamma, beta = make(5, 30, 3)
    _, mean, var = normalised_forward(x + 3000, gamma, beta, EPS, make_dynamics("lif"))
    shifted = (x + 3000).double()
    torch.testing.assert_close(mean.double(), shifted.mean((0, 1)), rtol=1e-6, atol=0)
    # The mean of squares less the square of the mean would be wrong by about 1.
    torch.testing.assert_close(var.double(), shifted.var((0, 1), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("neuron", NEURONS)
def test_membranes_at_the_threshold(neuron):
    x, g, _, _ = make(2, 1, 5)
    above = torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()
    x[0, 0] = torch.tensor([0.5, above, 0.0, 1.0, -2.0])
    one, zero = torch.ones(5), torch.zeros(5)
    spikes = given_forward(x, zero, one, one, zero, 0.0, make_dynamics(neuron))
    assert spikes[0, 0].tolist() == [0, 1, 0, 1, 0]
    check_given(x, g, one, zero, (zero, one), make_dynamics(neuron), eps=0.0)


@pytest.mark.parametrize("layout", ["transposed", "expanded"])
def test_layouts(path, layout):
    x, g, gamma, beta = make(5, 4, 6)
    if layout == "transposed":
        x, g = normal(6, 4, 5).transpose(0, 2), normal(6, 4, 5, seed=1).transpose(0, 2)
    else:
        g = normal(4, 6, seed=1).expand(5, 4, 6)
        beta = torch.tensor(0.4).expand(6)
    dynamics = make_dynamics("dynamic")
    check_pooled(x, g, gamma, beta, dynamics)
    mean, var = some_statistics(12)
    check_given(x, g, gamma, beta, (mean[::2], var[::2]), dynamics)


def test_bfloat16_keeps_its_state_in_float32(path):
    x, g, gamma, beta = make(5, 4, 5)
    x, g, dynamics = x.bfloat16(), g.bfloat16(), make_dynamics("lif")
    check_pooled(x, g, gamma, beta, dynamics, tolerance=2**-7)
    check_given(x, g, gamma, beta, some_statistics(5), dynamics, tolerance=2**-7)


def test_a_diverging_membrane_outside_the_tensor_does_not_reach_the_sums(path):
    """Rows beyond the batch hold x = 0, which a mean far from it turns into a large current."""
    x, g, _, _ = make(12, 3, 2)
    x, gamma, beta = x - 1000, torch.full((2,), 0.05), torch.zeros(2)
    never_fires = make_dynamics("dynamic")._replace(
        threshold=1e30, surrogate=Surrogate("rectangular", 2e30)
    )
    statistics = (torch.full((2,), -1000.0), torch.ones(2))
    check_given(x, g, gamma, beta, statistics, never_fires)
    check_pooled(x, g, gamma, beta, never_fires, tolerance=1e-3)


@pytest.mark.parametrize("given", [False, True])
def test_spike_counts_and_their_gradient(path, given):
    x, g, gamma, beta = make(5, 20, 11)
    dynamics, g_counts = make_dynamics("clif", "sigmoid"), normal(20, 11, seed=6)
    statistics = some_statistics(11)
    if given:
        arguments = (x, *statistics, gamma, beta, EPS, True, *compiled(dynamics))
        spikes, counts = normalised.given_forward(*arguments)
    else:
        arguments = (x, gamma, beta, EPS, True, *compiled(dynamics))
        spikes, *statistics, counts = normalised.normalised_forward(*arguments)
    assert torch.equal(counts, spikes.sum(0)) and counts.sum() > 0
    arguments = (x, *statistics, gamma, beta, EPS, not given, dynamics)
    over_time = g_counts.expand_as(x)
    for own, total in ((None, over_time), (g, g + over_time)):
        actual = gradients_of_normalised(own, *arguments, g_counts=g_counts)
        for one, other in zip(actual, gradients_of_normalised(total, *arguments), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
