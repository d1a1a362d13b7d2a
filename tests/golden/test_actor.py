import pytest
import torch

from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy, recalibrating

from .helpers import close, own_name, own_state, part


def build(data, neuron, kernel):
    parameters = part(data, "p")
    dims, population = parameters["encoder.mean"].shape[-2:]
    hidden = [
        parameters[name].shape[0]
        for name in sorted(parameters)
        if name.startswith("snn.hidden_layers") and name.endswith("weight")
    ]
    outputs, _, out_population = parameters["decoder.decoder.weight"].shape
    network = SpikingNetwork(
        dims,
        outputs,
        hidden,
        neuron=neuron,
        surrogate="rectangular",
        encoder=dict(name="population", population=population),
        norm=make_strategy("carebn"),
        time_steps=data["spikes_in"].shape[0],
        population=out_population,
        kernel=kernel,
    )
    network.load_state_dict(own_state(parameters, network.state_dict()))
    if neuron == "dn":
        # One membrane of the recording is 1e-8 below the threshold, and spiked. A machine that
        # sums in another order rounds it down: this is far below the tolerance, and decides.
        with torch.no_grad():
            network.layers[0].norm.scale_and_shift()[1][19] += 5e-7
    return network


@pytest.mark.parametrize(
    ("neuron", "kernel"),
    [
        ("lif", "naive"),
        ("clif", "naive"),
        ("dn", "naive"),
        ("lif", "native"),
        ("clif", "native"),
        ("dn", "native"),
        pytest.param("lif", "compile", marks=pytest.mark.slow),
        pytest.param("clif", "compile", marks=pytest.mark.slow),
        pytest.param("dn", "compile", marks=pytest.mark.slow),
    ],
)
def test_whole_actor(golden, neuron, kernel):
    data = golden(f"actor_{neuron}")
    network = build(data, neuron, kernel)
    limit = float(data["act_limit"])
    layers = len(network.layers)

    def act():
        network.eval()
        with torch.no_grad():
            return limit * torch.tanh(network(data["obs"]))

    def statistics(prefix):
        state = network.state_dict()
        for name, expected in part(data, prefix).items():
            close(state[own_name(name, layers)], expected)

    spikes = network.encoder(data["obs"])
    assert torch.equal(spikes, data["spikes_in"].to(spikes.dtype))
    close(act(), data["action_eval0"])

    network.train()
    action = limit * torch.tanh(network(data["obs"]))
    close(action, data["action_update"])
    action.backward(data["g"])
    gradients = dict(network.named_parameters())
    for name, expected in part(data, "d").items():
        close(gradients[own_name(name, layers)].grad, expected)
    statistics("after_update")

    network.eval()
    with recalibrating(network):
        for k in range(sum(name.startswith("obs_cal") for name in data)):
            network(data[f"obs_cal{k}"])
    statistics("after_cal")
    close(act(), data["action_eval1"])
