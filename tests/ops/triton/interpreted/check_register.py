"""The operators as a GPU calls them, arguments, order and autograd, in Triton's interpreter.

What is registered for CUDA is registered for the CPU here, before anything else imports it.
"""

import sys
from contextlib import nullcontext

import pytest
import torch

assert "snnrl.ops.triton.register" not in sys.modules
registered = torch.library.Library.impl


def for_the_cpu(library, name, function, key, **options):
    registered(library, name, function, "CPU" if key == "CUDA" else key, **options)


with pytest.MonkeyPatch.context() as patch:
    patch.setattr(torch.library.Library, "impl", for_the_cpu)
    from snnrl.ops.triton import register

from snnrl.nn.norm.confidence import ConfidenceUpdate  # noqa: E402
from snnrl.nn.readouts import PopulationDecoder  # noqa: E402
from snnrl.ops.confidence import ConfidenceRule, MovedLayer  # noqa: E402

from ..helpers import (  # noqa: E402
    EPS,
    NEURONS,
    gradients,
    make_dynamics,
    naive_encode,
    naive_neuron,
    naive_normalised,
    normal,
)


@pytest.fixture(autouse=True)
def launches(monkeypatch):
    """The kernels launched, while the CPU passes for a GPU."""
    names = []
    loaded = register._loaded

    def recorded(module, function):
        if module != "program":
            names.append(function)
        return loaded(module, function)

    monkeypatch.setattr(register, "_loaded", recorded)
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    return names


def check(ours, naive, g, *leaves):
    assert torch.equal(ours, naive)
    for one, other in zip(gradients(ours, g, *leaves), gradients(naive, g, *leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("neuron", NEURONS)
def test_neuron(launches, neuron):
    dynamics = make_dynamics(neuron, "triangle", detach_reset=True)
    x, g = normal(5, 3, 7, shift=0.3).requires_grad_(), normal(5, 3, 7, seed=1)
    check(register.neuron(x, dynamics)[0], naive_neuron(x, dynamics), g, x)
    assert launches == ["neuron_forward", "neuron_backward"]


@pytest.mark.parametrize("given", [False, True])
def test_normalised_neuron(launches, given):
    dynamics, g = make_dynamics("clif", "sigmoid"), normal(5, 3, 7, seed=1)
    x = normal(5, 3, 7).requires_grad_()
    gamma, beta = (normal(7, seed=seed, shift=0.5).requires_grad_() for seed in (2, 3))
    statistics = (normal(7, seed=4), normal(7, seed=5).abs() + 0.5) if given else None
    spikes, mean, var, _ = register.normalised_neuron(x, statistics, gamma, beta, EPS, dynamics)
    assert not mean.requires_grad and not var.requires_grad
    naive = naive_normalised(x, statistics, gamma, beta, dynamics)
    check(spikes, naive, g, x, gamma, beta)
    forward = "given_forward" if given else "normalised_forward"
    assert launches == [forward, "normalised_backward"]


def test_encode(launches):
    drive, g = torch.rand(3, 7, requires_grad=True), normal(5, 3, 7, seed=1)
    check(register.encode(drive, 5, 0.999), naive_encode(drive, 5, 0.999), g, drive)
    assert launches == ["encode_forward", "encode_backward"]


@pytest.mark.parametrize("frozen", [False, True])
def test_encode_fields(launches, frozen):
    seen, g = normal(3, 2, scale=0.5).requires_grad_(), normal(5, 3, 8, seed=1)
    mean, std = normal(2, 4, seed=2), normal(2, 4, seed=3).abs() + 0.2
    of = [seen] if frozen else [seen, mean.requires_grad_(), std.requires_grad_()]
    distance = seen.unsqueeze(-1) - mean
    drive = torch.exp(-(distance**2) / (2 * std**2)).flatten(1)
    ours = register.encode_fields(seen, mean, std, 5, 0.999)
    check(ours, naive_encode(drive, 5, 0.999), g, *of)
    assert launches == ["fields_forward", "fields_backward"]


def test_decode(launches):
    counts = torch.randint(0, 6, (3, 8)).float().requires_grad_()
    decoder, g = PopulationDecoder(2, 4), normal(3, 2, seed=1)
    ours = register.decode(counts, decoder.weight, decoder.bias, 5)
    naive = decoder.read(counts, 5)
    torch.testing.assert_close(ours, naive)
    of = (counts, decoder.weight, decoder.bias)
    for one, other in zip(gradients(ours, g, *of), gradients(naive, g, *of), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert launches == ["decode_forward", "decode_backward"]


def test_move_statistics(launches):
    layers = [
        MovedLayer(*pairs(size), posterior=(), batch=(normal(size), normal(size).abs()))
        for size in (7, 3)
    ]
    rule = ConfidenceUpdate((7,), 0.8, 9.0)
    mean, var = torch.zeros(7), torch.ones(7)
    rule(mean, var, *layers[0].batch, 1)
    register.move_statistics(layers, ConfidenceRule("published", 0.8, 9.0))
    for one, other in zip(layers[0].moving, (mean, var), strict=True):
        torch.testing.assert_close(one, other)
    assert launches == ["move_statistics"]


def pairs(size):
    zeros = [torch.zeros(size) for _ in range(5)]
    return (zeros[0], torch.ones(size)), (zeros[1], zeros[2]), (zeros[3], zeros[4])


@pytest.mark.parametrize("also", ["mean", "var"])
def test_statistics_that_move_before_the_gradient_are_refused(also):
    layer = MovedLayer(*pairs(7), posterior=(), batch=(normal(7), normal(7).abs()))
    x, affine = normal(5, 3, 7).requires_grad_(), (torch.ones(7), torch.ones(7))
    statistics = dict(zip(("mean", "var"), layer.moving, strict=True))
    kept = {name: value.clone() for name, value in statistics.items()} | {also: statistics[also]}
    spikes, *_ = register.normalised_neuron(
        x, tuple(kept.values()), *affine, EPS, make_dynamics("lif")
    )
    register.move_statistics([layer], ConfidenceRule("published", 0.8, 9.0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


@pytest.mark.parametrize("statistics", ["none", "batch", "given"])
@pytest.mark.parametrize("also_spikes", [False, True])
def test_spike_counts(launches, statistics, also_spikes):
    dynamics, g = make_dynamics("clif", "sigmoid"), normal(5, 3, 7, seed=1)
    g_counts = normal(3, 7, seed=6)
    leaves = normal(5, 3, 7), *(normal(7, seed=seed, shift=0.5) for seed in (2, 3))
    x, gamma, beta = (leaf.requires_grad_() for leaf in leaves)
    given = (normal(7, seed=4), normal(7, seed=5).abs() + 0.5) if statistics == "given" else None
    if statistics == "none":
        leaves = (x,)
        spikes, counts = register.neuron(x, dynamics, counts=True)
        naive = naive_neuron(x, dynamics)
    else:
        spikes, *_, counts = register.normalised_neuron(
            x, given, gamma, beta, EPS, dynamics, counts=True
        )
        naive = naive_normalised(x, given, gamma, beta, dynamics)
    assert torch.equal(counts, naive.sum(0)) and counts.sum() > 0
    loss, naive_loss = (counts * g_counts).sum(), (naive.sum(0) * g_counts).sum()
    if also_spikes:
        loss, naive_loss = loss + (spikes * g).sum(), naive_loss + (naive * g).sum()
    ours, theirs = (torch.autograd.grad(each, leaves) for each in (loss, naive_loss))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert len(launches) == 2
