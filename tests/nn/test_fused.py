"""Networks with fused operators against the same networks with naive ones."""

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.activity import activity
from snnrl.nn.adaptive import frozen
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.neurons import Neuron
from snnrl.nn.neurons.lif import LIF
from snnrl.nn.norm import norm_layers, recalibrating
from snnrl.nn.surrogates import Surrogate
from snnrl.ops import native as native_operators

from .networks import images, observations, tiny, tiny_conv
from .parts import FUSED_NEURONS, FUSED_NORMS, FUSED_SURROGATES

CLOSE = dict(rtol=1e-3, atol=2e-5)
POPULATION, DIRECT = dict(), dict(encoder="direct")
LINEAR, CONV = dict(encoder="direct", readout="linear"), dict(make=tiny_conv)


def pair(make=tiny, **changes):
    return make(**changes), make(**changes, kernel="native")


def inputs_for(network):
    return images() if network.layers[0].linear.in_features == 24 else observations()


def assert_same_state(naive, native):
    for name, buffer in naive.named_buffers():
        torch.testing.assert_close(native.get_buffer(name), buffer, **CLOSE, msg=name)


def assert_same_pass(naive, native, *, learns=True):
    x, gradients = inputs_for(naive), []
    values = []
    for network in (naive, native):
        network.zero_grad()
        values.append(network(x))
        if learns:
            values[-1].square().sum().backward()
            gradients.append({n: p.grad.clone() for n, p in network.named_parameters()})
    torch.testing.assert_close(values[1], values[0], **CLOSE)
    for name in gradients[0] if learns else ():
        # In front of a normalisation a bias has no gradient but rounding errors.
        torch.testing.assert_close(gradients[1][name], gradients[0][name], **CLOSE, msg=name)
    assert_same_state(naive, native)
    return values[0].detach()


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize("network", [POPULATION, DIRECT, LINEAR, CONV])
@pytest.mark.parametrize("bn", [*FUSED_NORMS, dict(name="renorm", warmup=0)])
def test_training_evaluation_and_recalibration(bn, network):
    naive, native = pair(bn=bn, **network)
    learned = assert_same_pass(naive, native)
    assert learned.std() > 0
    for net in (naive, native):
        with recalibrating(net):
            net(inputs_for(net)[:7])
            net(inputs_for(net)[7:])
    assert_same_state(naive, native)
    naive.eval(), native.eval()
    assert_same_pass(naive, native)
    with torch.no_grad():
        assert_same_pass(naive, native, learns=False)
        torch.testing.assert_close(native(inputs_for(native)[:1]), naive(inputs_for(naive)[:1]))


@pytest.mark.parametrize("neuron", FUSED_NEURONS)
@pytest.mark.parametrize("surrogate", [*FUSED_SURROGATES, "learnable"])
def test_neurons(neuron, surrogate):
    changes = dict(neuron=dict(name=neuron, detach_reset=True), surrogate=surrogate)
    assert_same_pass(*pair(**changes))


LEARNED = dict(neuron="plif", surrogate="learnable")


@pytest.mark.parametrize(
    "bn", ["none", "layernorm", "bntt", dict(name="renorm", warmup=0)], ids=str
)
@pytest.mark.parametrize("network", [POPULATION, CONV])
def test_what_neurons_and_surrogates_learn(network, bn):
    naive, native = pair(bn=bn, **LEARNED, **network)
    assert_same_pass(naive, native)
    for layer in native.stack():
        assert layer.neuron.w.grad.abs() > 0
        assert layer.neuron.surrogate.weight.grad.abs().max() > 0
    naive.eval(), native.eval()
    with torch.no_grad():
        assert_same_pass(naive, native, learns=False)


@pytest.mark.parametrize("network", [POPULATION, CONV])
def test_torch_computes_neurons_that_learn_where_operators_do_not(network, monkeypatch):
    monkeypatch.setattr(native_operators, "LEARNS", False)
    for operator in ("neuron", "normalised_neuron", "fire_linear", "fire_counts"):
        monkeypatch.setattr(native_operators, operator, None)
    naive, native = pair(**LEARNED, **network)
    assert_same_pass(naive, native)


@pytest.mark.quick_cases(17)
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 16, 17, 40])
@pytest.mark.parametrize("bn", ["carebn", "none"])
@pytest.mark.parametrize("hidden", [[12, 8], [70, 300, 33]])
@pytest.mark.parametrize("network", [POPULATION, DIRECT, LINEAR])
def test_acting(network, hidden, bn, batch):
    naive, native = pair(bn=bn, hidden=hidden, **network)
    naive(observations()), native(observations())
    naive.eval(), native.eval()
    with torch.no_grad():
        x = observations(seed=3, batch=batch)
        torch.testing.assert_close(native(x), naive(x), **CLOSE)
        assert naive(x).std() > 0 or batch == 1


def test_acting_is_one_call(monkeypatch):
    network = tiny(kernel="native")
    network(observations())
    network.eval()
    monkeypatch.setattr(native_operators, "encoded_linear", None)
    with torch.no_grad():
        network(observations())


KEEP_STATISTICS = ["vanilla", "tdbn", "tebn", "bntt", "tab", "renorm"]


def disturbed(bn):
    """Two networks whose moving statistics are not those of the batch."""
    networks = pair(bn=bn)
    for network in networks:
        for layer in norm_layers(network):
            layer.moving_var.copy_(
                torch.linspace(0.3, 0.9, layer.moving_var.numel()).view_as(layer.moving_var)
            )
            layer.moving_mean.fill_(0.1)
    return networks


@pytest.mark.parametrize("bn", KEEP_STATISTICS)
def test_frozen_networks(bn):
    naive, native = disturbed(bn)
    moving = {name: buffer.clone() for name, buffer in native.named_buffers()}
    with frozen(naive), frozen(native):
        assert_same_pass(naive, native)
    for name, buffer in native.named_buffers():
        assert torch.equal(buffer, moving[name])


@pytest.mark.parametrize("bn", KEEP_STATISTICS)
def test_renormalisation_is_fused(bn, monkeypatch):
    naive, native = disturbed(bn)
    naive.eval(), native.eval()
    moving = {name: buffer.clone() for name, buffer in native.named_buffers()}
    for network in (naive, native):
        for layer in norm_layers(network):
            layer.renormalises = True
    if bn != "tab":  # Its statistics are of several steps, which no operator knows.
        monkeypatch.setattr(native_operators, "neuron", None)
    assert_same_pass(naive, native)
    for name, buffer in native.named_buffers():
        assert torch.equal(buffer, moving[name])


def test_layers_can_be_watched():
    naive, native = pair()
    assert activity(native, observations()).rates == activity(naive, observations()).rates
    assert native.kernel == "native"


class Other(Neuron):
    """A neuron that no fused operator knows."""

    def forward(self, x, state=None):
        return (x > 0).to(x.dtype), state


def test_auto_is_naive_for_a_neuron_without_fused_operators(registered):
    registered("neuron", "other", Other)
    network = tiny(neuron="other", kernel="auto", surrogate="rectangular")
    network(observations())
    assert network.kernel == "naive"
    with pytest.raises(UserError, match=r"^kernel=native: .*kernel=compile or naive$"):
        tiny(neuron="other", kernel="native")


class Loud(LIF):
    """Not what LIF computes, whose dynamics it inherits."""

    def forward(self, x, state=None):
        return torch.ones_like(x), state


def test_a_neuron_that_computes_something_else_is_not_taken_for_its_parent(registered):
    registered("neuron", "loud", Loud)
    network = tiny(neuron="loud", kernel="auto")
    network(observations())
    assert network.kernel == "naive"


class Flat(Surrogate):
    """A surrogate that no fused operator knows."""

    def forward(self, membrane, threshold, step):
        return (membrane > threshold).to(membrane.dtype) + membrane - membrane.detach()


def test_a_surrogate_that_fused_operators_do_not_know(registered):
    registered("surrogate", "flat", Flat)
    network = tiny(surrogate="flat", kernel="auto")
    network(observations())
    assert network.kernel == "naive"
    with pytest.raises(UserError, match=r"^kernel=native: .*surrogate"):
        tiny(surrogate="flat", kernel="native")


class Silent(PopulationEncoder):
    """Not what its parent computes."""

    def forward(self, observation):
        return torch.zeros_like(super().forward(observation))


def test_an_encoder_that_computes_something_else_is_called(registered):
    registered("encoder", "silent", Silent)
    naive, native = pair(encoder="silent")
    assert_same_pass(naive, native, learns=False)
    naive.eval(), native.eval()
    with torch.no_grad():
        assert_same_pass(naive, native, learns=False)


def test_auto_is_decided_in_the_first_pass():
    network = tiny(kernel="auto")
    assert network.kernel == "auto"
    network(observations())
    assert network.kernel == "native"
