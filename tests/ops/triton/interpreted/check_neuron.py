"""The neuron's kernels in Triton's interpreter, against autograd of the naive operators."""

import pytest
import torch

from snnrl.ops.triton import neurons

from ..helpers import NEURONS, SCALES, gradients, make_dynamics, naive_neuron, normal
from .launchers import compiled, neuron_backward, neuron_forward


def check(x, g, dynamics, rtol=1e-5, atol=1e-5):
    leaf = x.detach().clone().requires_grad_()
    spikes = naive_neuron(leaf, dynamics)
    (expected,) = gradients(spikes, g, leaf)
    assert expected.isfinite().all() and expected.abs().sum() > 0
    fired = neuron_forward(x, dynamics)
    dx = neuron_backward(g, x, dynamics)
    assert torch.equal(fired, spikes) and fired.is_contiguous()
    torch.testing.assert_close(dx, expected, rtol=rtol, atol=atol)
    assert dx.is_contiguous()


def make(*shape):
    return normal(*shape, scale=0.8, shift=0.2), normal(*shape, seed=1)


def test_memory_is_poisoned():
    assert torch.empty(3).isnan().all()
    assert torch.empty_like(torch.zeros(3)).isnan().all()
    assert torch.zeros(3).new_empty(2).isnan().all()


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("surrogate", SCALES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_every_neuron_and_surrogate(neuron, surrogate, detach_reset):
    check(*make(5, 2, 19), make_dynamics(neuron, surrogate, detach_reset))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("shape", [(1, 2, 19), (9, 7, 19), (5, 3, 2, 2, 97), (5, 4)])
def test_shapes(neuron, shape):
    check(*make(*shape), make_dynamics(neuron))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("time_steps", [32, 33, 40])
def test_many_time_steps(neuron, time_steps):
    # Gradients of the second-order neuron grow with T, and their errors with them.
    check(*make(time_steps, 1, 7), make_dynamics(neuron), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("neuron", NEURONS)
def test_membranes_at_the_threshold_and_at_the_edges_of_the_surrogate(neuron):
    above = torch.nextafter(torch.tensor(0.5), torch.tensor(1.0)).item()
    x, g = make(3, 1, 6)
    x[0, 0] = torch.tensor([0.5, above, 0.0, 1.0, -0.7, 3.0])
    spikes = neuron_forward(x, make_dynamics(neuron))
    assert spikes[0, 0].tolist() == [0, 1, 0, 1, 0, 1]
    check(x, g, make_dynamics(neuron))
    check(x[:1], g[:1], make_dynamics(neuron))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("layout", ["transposed", "expanded", "strided"])
def test_layouts_of_the_upstream_gradient(neuron, layout):
    x, g = make(5, 4, 6)
    if layout == "transposed":
        g = normal(6, 4, 5, seed=1).transpose(0, 2)
    elif layout == "expanded":
        g = normal(4, 6, seed=1).expand(5, 4, 6)
    else:
        g = normal(5, 4, 12, seed=1)[..., ::2]
    assert not g.is_contiguous()
    check(x, g, make_dynamics(neuron))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("expanded", [False, True])
def test_layouts_of_the_input(neuron, expanded):
    x = normal(4, 6).expand(5, 4, 6) if expanded else normal(6, 4, 5).transpose(0, 2)
    check(x, normal(5, 4, 6, seed=1), make_dynamics(neuron))


@pytest.mark.parametrize("neuron", NEURONS)
def test_two_forwards_before_one_backward(neuron):
    dynamics = make_dynamics(neuron)
    (x, g), other = make(5, 2, 7), normal(5, 2, 7, seed=9)
    alone = neuron_backward(g, x, dynamics)
    neuron_forward(x, dynamics)
    neuron_forward(other, dynamics)
    assert torch.equal(neuron_backward(g, x, dynamics), alone)


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("time_steps", [5, 40])
def test_bfloat16_keeps_its_state_in_float32(neuron, time_steps):
    dynamics = make_dynamics(neuron)
    x, g = (value.bfloat16() for value in make(time_steps, 2, 7))
    leaf = x.float().requires_grad_()
    spikes = naive_neuron(leaf, dynamics)
    (expected,) = gradients(spikes, g.float(), leaf)
    fired, dx = neuron_forward(x, dynamics), neuron_backward(g, x, dynamics)
    assert fired.dtype == dx.dtype == torch.bfloat16
    assert torch.equal(fired.float(), spikes)
    # The interpreter cuts off where a GPU rounds.
    torch.testing.assert_close(dx.float(), expected, rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize(
    ("recorded", "neuron"), [("LIF", "lif"), ("CLIF", "clif"), ("DN", "dynamic")]
)
def test_recordings_of_the_published_implementation(golden, recorded, neuron):
    data, dynamics = golden("neurons"), make_dynamics(neuron)
    x, g = data[f"{recorded}_x"], data[f"{recorded}_g"]
    assert torch.equal(neuron_forward(x, dynamics), data[f"{recorded}_spikes"])
    dx = neuron_backward(g, x, dynamics)
    torch.testing.assert_close(dx, data[f"{recorded}_dx"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("time_steps", [1, 5, 40])
@pytest.mark.parametrize("neuron", NEURONS)
def test_spike_counts_and_their_gradient(neuron, time_steps):
    dynamics = make_dynamics(neuron, "sigmoid")
    (x, g), g_counts = make(time_steps, 3, 7), normal(3, 7, seed=2)
    spikes, counts = neurons.neuron_forward(x, True, *compiled(dynamics))
    assert torch.equal(spikes, neuron_forward(x, dynamics))
    assert torch.equal(counts, spikes.sum(0)) and counts.sum() > 0
    over_time = g_counts.expand_as(x)
    for own, total in ((None, over_time), (g, g + over_time)):
        dx = neuron_backward(own, x, dynamics, g_counts)
        torch.testing.assert_close(dx, neuron_backward(total, x, dynamics), rtol=1e-5, atol=1e-5)


def test_no_counts_take_no_memory():
    assert neurons.neuron_forward(make(5, 2, 7)[0], False, *compiled(make_dynamics("lif")))[
        1
    ].shape == (0,)


@pytest.mark.parametrize("surrogate", SCALES)
@pytest.mark.parametrize("neuron", NEURONS)
def test_threshold_and_scale_are_read_when_it_runs(neuron, surrogate):
    """One program, and so one compiled kernel, for all of their values."""
    start = make_dynamics(neuron, surrogate)
    x, g = make(5, 2, 19)
    for threshold, scale in ((0.5, 0.5), (0.9, 0.3), (-0.1, 1.7)):
        moved = start._replace(threshold=threshold, surrogate=start.surrogate._replace(scale=scale))
        assert compiled(moved)[1] is compiled(start)[1]
        check(x, g, moved)
