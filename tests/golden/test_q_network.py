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
    gradients = dict(network.named_parameters())
    checked = 0
    for name, expected in part(data, "d").items():
        # Compiled code sums in another order. Gradients are about 10 here, and so large are the
        # terms whose rounding errors are left where they cancel.
        rounding = 1e-5 if kernel == "naive" else 1e-4
        close(gradients[own_name(name)].grad, expected, rtol=1e-4, atol=rounding)
        checked += 1
    assert checked == len(gradients)
    state = network.state_dict()
    for name, expected in part(data, "after_update").items():
        if own_name(name):
            close(state[own_name(name)], expected)

    network.eval()
    with torch.no_grad():
        close(network(data["obs"]), data["q_eval1"])
