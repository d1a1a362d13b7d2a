import pytest
import torch

from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy

from .helpers import close, part


def own_name(reference):
    """``None``: a normalisation that exists in the reference and is never used."""
    for theirs, ours in (
        ("snn.hidden_layers.", "layers.{}.linear"),
        ("snn.hidden_norms.", "layers.{}.norm"),
    ):
        if reference.startswith(theirs):
            index, name = reference.removeprefix(theirs).split(".")
            return f"{ours.format(index)}.{name}"
    return (
        reference.replace("snn.out_pop_layer", "decoder.linear")
        if "norm" not in reference
        else None
    )


def build(data, kernel):
    parameters = {own_name(k): v for k, v in part(data, "p").items() if own_name(k)}
    weights = [v for k, v in parameters.items() if k.endswith("linear.weight")]
    *hidden, outputs = (weight.shape[0] for weight in weights)
    network = SpikingNetwork(
        data["obs"].shape[1],
        outputs,
        hidden,
        neuron="lif",
        surrogate="rectangular",
        encoder="direct",
        norm=make_strategy("carebn"),
        time_steps=5,
        population=1,
        readout="linear",
        kernel=kernel,
    )
    state = network.state_dict()
    state |= {k: v.reshape(state[k].shape) for k, v in parameters.items()}
    network.load_state_dict(state)
    return network


CANCELS = 1e-6
"""Rounding error of a sum that cancels, relative to the largest gradient of its layer."""


def cancels(name, gradients):
    """Whether it is a bias in front of a normalisation, which takes away what the bias does: its
    gradient is 0 up to rounding."""
    layer, _, parameter = name.rpartition(".linear.")
    return parameter == "bias" and f"{layer}.norm.beta" in gradients


def close_gradients(gradients, expected, rounding, cancelled=CANCELS):
    """Hold gradients to 1e-4 of themselves and ``rounding``; those that cancel have errors as large
    as their layer's gradients make them."""
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        if cancels(name, expected):
            largest = expected[name.replace("bias", "weight")].abs().max().item()
            close(gradients[name], value, rtol=0.0, atol=cancelled * largest)
        else:
            close(gradients[name], value, rtol=1e-4, atol=rounding)


@pytest.mark.parametrize(
    "kernel", ["naive", "native", pytest.param("compile", marks=pytest.mark.slow)]
)
def test_whole_network(golden, kernel):
    data = golden("q_network")
    network = build(data, kernel).eval()
    with torch.no_grad():
        close(network(data["obs"]), data["q_eval0"])

    network.train()
    values = network(data["obs"])
    close(values, data["q_update"])
    values.backward(data["g"])
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    expected = {own_name(name): value for name, value in part(data, "d").items()}
    # Compiled code sums in another order. Gradients are about 10 here, and so large are the terms
    # whose rounding errors are left where they cancel.
    rounding = 1e-5 if kernel == "naive" else 1e-4
    cancelled = 3 * CANCELS if kernel == "compile" else CANCELS
    close_gradients(gradients, expected, rounding, cancelled)
    state = network.state_dict()
    for name, expected in part(data, "after_update").items():
        if own_name(name):
            close(state[own_name(name)], expected)

    network.eval()
    with torch.no_grad():
        close(network(data["obs"]), data["q_eval1"])


def other_recording(data, seed):
    """Observations, and a gradient of the values that grows with the seed."""
    generator = torch.Generator().manual_seed(seed)
    observations, upstream = (
        torch.randn(data[key].shape, generator=generator) * data[key].std() for key in ("obs", "g")
    )
    return observations + data["obs"].mean(), upstream * (1 + seed)


def gradients_of(network, observations, upstream):
    network.train().zero_grad()
    network(observations).backward(upstream)
    return {name: weight.grad for name, weight in network.named_parameters()}


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_on_other_recordings_only_biases_that_cancel_miss_an_absolute_bound(golden, kernel):
    data = golden("q_network")
    missed = set()
    for seed in range(4):
        observations, upstream = other_recording(data, seed)
        exact = gradients_of(
            build(data, "naive").double(), observations.double(), upstream.double()
        )
        ours = gradients_of(build(data, kernel), observations, upstream)
        close_gradients(ours, exact, 1e-4 * (1 + seed))
        missed |= {
            name
            for name, value in exact.items()
            if cancels(name, exact) and (ours[name] - value).abs().max() > 1e-5
        }
    assert missed
    with pytest.raises(AssertionError):
        wrong = {name: value + cancels(name, exact) * 1e-2 for name, value in ours.items()}
        close_gradients(wrong, exact, 1.0)
