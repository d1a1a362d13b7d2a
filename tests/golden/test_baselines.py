"""Whole actors of PopSAN, MDC-SAN and ILC-SAN: spikes, actions, gradients."""

import numpy as np
import pytest
import torch

from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy
from snnrl.nn.readouts import make_readout

from .helpers import close, own_name, own_state, part

ENCODERS = {
    "popsan": "population",
    "mdcsan": "population_current",
    "ilcsan": "population",
    "ilcsan_dn": "population_current",
}
NEURONS = {"popsan": "clif", "mdcsan": "dn_mdcsan", "ilcsan": "clif", "ilcsan_dn": "dn_mdcsan"}
KERNELS = ["naive", "native", pytest.param("compile", marks=pytest.mark.slow)]


def build(data, name, kernel, **changes):
    parameters = part(data, "p")
    dims, population = parameters["encoder.mean"].shape[-2:]
    hidden = [
        parameters[key].shape[0]
        for key in sorted(parameters)
        if key.startswith("snn.hidden_layers") and key.endswith("weight")
    ]
    outputs, _, out_population = parameters["decoder.decoder.weight"].shape
    low, high = data["mean_range"].tolist()
    assert low == -high
    encoder = dict(
        name=ENCODERS[name],
        population=population,
        mean_range=high,
        std=float(data["std"]),
        squash=False,
    )
    network = SpikingNetwork(
        dims,
        outputs,
        hidden,
        neuron=NEURONS[name],
        surrogate="rectangular",
        encoder=encoder,
        norm=make_strategy("none"),
        time_steps=data["inputs"].shape[0],
        population=out_population,
        kernel=kernel,
        **changes,
    )
    # The receptive fields start where the published ones do.
    for key in ("mean", "std"):
        close(getattr(network.encoder, key), parameters[f"encoder.{key}"])
    network.load_state_dict(own_state(parameters, network.state_dict()))
    return network


def check_gradients(network, data, prefix):
    gradients = dict(network.named_parameters())
    expected = part(data, prefix)
    assert len(expected) == len(gradients)
    for name, gradient in expected.items():
        close(gradients[own_name(name, len(network.layers))].grad, gradient)


def act(network, data):
    return float(data["act_limit"]) * torch.tanh(network(data["obs"]))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["popsan", "mdcsan"])
def test_read_by_firing_rates(golden, name, kernel):
    data = golden(f"actor_{name}")
    network = build(data, name, kernel)
    close(network.encoder(data["obs"]), data["inputs"])
    with torch.no_grad():
        close(act(network.eval(), data), data["action.fr-mlp"])
    action = act(network.train(), data)
    close(action, data["action.fr-mlp"])
    action.backward(data["g"])
    check_gradients(network, data, "d.fr-mlp")


@pytest.mark.parametrize("name", ["popsan", "mdcsan"])
def test_rates_of_the_output_population(golden, name):
    data = golden(f"actor_{name}")
    network = build(data, name, "naive")
    rates = network.layers(network.encoder(data["obs"])).mean(0)
    np.testing.assert_array_equal(rates.detach(), data["rates_out"])


READOUTS = ["last-mem", "max-mem", "mean-mem", "last-mem@0.8", "max-mem@0.8", "mean-mem@0.8"]


def membrane(published):
    """The settings of ``last-mem@0.8`` and the like."""
    name, _, decay = published.partition("@")
    value = name.removesuffix("-mem")
    return dict(name="membrane", value=value, decay=float(decay or 1))


def recorded_readouts(data):
    return [key.removeprefix("action.") for key in data if key.startswith("action.")]


@pytest.mark.parametrize("name", ["ilcsan", "ilcsan_dn"])
def test_membrane_readouts_of_recorded_spikes(golden, name):
    data = golden(f"actor_{name}")
    published = recorded_readouts(data)
    assert set(published) == (set(READOUTS) if name == "ilcsan" else {"last-mem"})
    parameters = part(data, "p.decoder.decoder")
    outputs, _, population = parameters["weight"].shape
    limit = float(data["act_limit"])
    for each in published:
        readout = make_readout(membrane(each), outputs, population, features=0)
        own = {key: value.reshape(getattr(readout, key).shape) for key, value in parameters.items()}
        readout.load_state_dict(own)
        action = limit * torch.tanh(readout(data["spikes_out"]))
        close(action, data[f"action.{each}"])
        action.backward(data["g"])
        for key, expected in part(data, f"d.{each}.decoder.decoder").items():
            close(getattr(readout, key).grad, expected)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["ilcsan", "ilcsan_dn"])
def test_with_intra_layer_connections(golden, name, kernel):
    data = golden(f"actor_{name}")
    # Compiling takes many seconds, and what is compiled differs little.
    for published in recorded_readouts(data)[: 1 if kernel == "compile" else None]:
        network = build(data, name, kernel, lateral="intra", readout=membrane(published))
        with torch.no_grad():
            close(network.encoder(data["obs"]), data["inputs"])
            close(act(network.eval(), data), data[f"action.{published}"])
        action = act(network.train(), data)
        close(action, data[f"action.{published}"])
        action.backward(data["g"])
        check_gradients(network, data, f"d.{published}")


@pytest.mark.parametrize("name", ["ilcsan", "ilcsan_dn"])
def test_spikes_of_connected_neurons(golden, name):
    data = golden(f"actor_{name}")
    network = build(data, name, "naive", lateral="intra", readout="membrane")
    spikes = network.layers(network.encoder(data["obs"]))
    np.testing.assert_array_equal(spikes.detach(), data["spikes_out"])
