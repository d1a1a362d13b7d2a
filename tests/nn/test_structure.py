"""Kernels that do not call a network's modules refuse what would be left out, and take along what
they can: whatever a kernel does not refuse, it computes as the naive one does."""

from copy import deepcopy
from io import BytesIO

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from snnrl.errors import UserError
from snnrl.nn.activity import activity
from snnrl.nn.eager import eager
from snnrl.nn.encoders.direct import DirectEncoder
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.layers import LayerParts, SpikingLayer
from snnrl.nn.neurons import Neuron
from snnrl.nn.neurons.lif import LIF
from snnrl.nn.norm import make_strategy, recalibrating
from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.readouts import PopulationDecoder
from snnrl.nn.surrogates import Surrogate

from .networks import images, observations, tiny, tiny_conv
from .parts import make_neuron, make_norm

HOOKS = {
    "forward hook": "register_forward_hook",
    "forward pre-hook": "register_forward_pre_hook",
    "backward hook": "register_full_backward_hook",
    "backward pre-hook": "register_full_backward_pre_hook",
}
WHERE = [
    "encoder",
    "layers",
    "layers.0",
    "layers.1.linear",
    "layers.1.norm",
    "layers.1.norm.update",
]
WHERE += ["layers.2.neuron", "decoder"]
WHERE_CONV = ["conv", "conv.layers.0", "conv.layers.1.linear", "conv.layers.0.neuron"]
PASSES = ["training", "evaluation", "acting", "recalibration"]


def play(network, kind):
    """One pass; a training pass goes backward."""
    x = images() if hasattr(network.conv, "layers") else observations()
    network.train(kind == "training")
    if kind == "training":
        network(x).square().sum().backward()
    elif kind == "evaluation":
        network(x)
    elif kind == "acting":
        with torch.no_grad():
            network(x)
    else:
        with recalibrating(network):
            network(x)


def cases():
    yield from ((tiny, name) for name in WHERE)
    yield from ((tiny_conv, name) for name in WHERE_CONV)


@pytest.mark.quick_cases(24)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("make", "name"), list(cases()))
def test_a_hook_is_refused(make, name, hook):
    network = make(kernel="native")
    play(network, "acting")
    handle = getattr(network.get_submodule(name), HOOKS[hook])(lambda *_: None)
    for kind in PASSES:
        with pytest.raises(UserError) as refusal:
            play(network, kind)
        assert str(refusal.value).startswith(f"kernel=native: {name} has a {hook}, which")
        assert "kernel=naive" in str(refusal.value)
    handle.remove()
    play(network, "training")


@pytest.mark.parametrize("kind", PASSES[:3])
def test_a_hook_is_refused_by_compiled_code_before_it_compiles(kind):
    network = tiny(kernel="compile")
    network.layers[1].norm.register_forward_hook(lambda *_: None)
    with pytest.raises(UserError, match=r"^kernel=compile: layers\.1\.norm has a forward hook"):
        play(network, kind)


@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize("kind", PASSES)
def test_hooks_of_the_network_itself_fire(kind, kernel):
    network = tiny(kernel=kernel)
    fired = []
    network.register_forward_pre_hook(lambda *_: fired.append("pre"))
    network.register_forward_hook(lambda *_: fired.append("forward"))
    network.register_full_backward_hook(lambda *_: fired.append("backward"))
    play(network, kind)
    assert fired == ["pre", "forward", *(["backward"] if kind == "training" else [])]


@pytest.mark.parametrize("register", ["forward_hook", "forward_pre_hook", "full_backward_hook"])
def test_hooks_for_all_modules_are_refused(register):
    network = tiny(kernel="native")
    handle = getattr(nn.modules.module, f"register_module_{register}")(lambda *_: None)
    try:
        with pytest.raises(UserError, match=r"^kernel=native: torch has hooks for all modules"):
            play(network, "acting")
    finally:
        handle.remove()
    play(network, "acting")


def test_hooks_fire_in_an_eager_pass():
    network = tiny(kernel="native")
    seen = []
    network.layers[0].register_forward_hook(lambda *_: seen.append(1))
    with eager(network):
        play(network, "acting")
    assert seen == [1]
    assert network.kernel == "native"
    assert activity(network, observations()).rates


def test_a_forward_put_onto_a_module_is_refused():
    network = tiny(kernel="native")
    play(network, "acting")
    layer = network.layers[0]
    layer.forward = lambda x: SpikingLayer.forward(layer, x) * 0
    with pytest.raises(UserError, match=r"^kernel=native: layers\.0 has a forward of its own"):
        play(network, "acting")
    del layer.forward
    play(network, "acting")


@pytest.mark.parametrize("copy", ["deepcopy", "pickle"])
def test_copies_are_looked_at_anew(copy):
    network = tiny(kernel="native")
    play(network, "acting")
    if copy == "deepcopy":
        other = deepcopy(network)
    else:
        file = BytesIO()
        torch.save(network, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    other.layers[0].register_forward_hook(lambda *_: None)
    play(network, "acting")
    with pytest.raises(UserError, match=r"layers\.0 has a forward hook"):
        play(other, "acting")


class Halved(SpikingLayer):
    def forward(self, x):
        return super().forward(x) * 0.5


class Quiet(LIF):
    def forward(self, x, state=None):
        spikes, state = super().forward(x, state)
        return spikes * 0, state


class HalfLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 0.5


class Doubled(PopulationDecoder):
    def forward(self, spikes):
        return super().forward(spikes) * 2


class Reversed(nn.Sequential):
    def forward(self, x):
        return super().forward(x.flip(0))


def replaced(network, name, module):
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def halved():
    return Halved(nn.Linear(12, 8), make_norm("carebn", 8), make_neuron("lif"))


STRANGERS = {
    "layers.1": halved,
    "layers.0.neuron": lambda: make_neuron(Quiet),
    "layers.2.neuron": nn.Identity,
    "layers.2.linear": lambda: HalfLinear(8, 6),
    "decoder": lambda: Doubled(2, 3),
    "conv": lambda: nn.Flatten(2),
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("seen", [False, True], ids=["before", "after a pass"])
def test_a_replaced_module_that_no_operator_knows_is_refused(name, seen):
    network = tiny(kernel="native")
    if seen:
        play(network, "training")
    stranger = STRANGERS[name]()
    replaced(network, name, stranger)
    for kind in PASSES:
        with pytest.raises(UserError) as refusal:
            play(network, kind)
        expected = f"kernel=native: has no operator for {name} ({type(stranger).__name__});"
        assert str(refusal.value).startswith(expected)


def test_a_container_that_does_more_is_refused():
    network = tiny(kernel="native")
    network.layers = Reversed(*network.layers)
    with pytest.raises(UserError, match=r"has no operator for layers \(Reversed\)"):
        play(network, "acting")


class Unknown(Surrogate):
    def forward(self, membrane, threshold, step):
        return (membrane > threshold).to(membrane.dtype)


def test_a_surrogate_that_no_operator_knows_is_refused():
    network = tiny(kernel="native")
    network.layers[0].neuron = make_neuron("lif", Unknown)
    with pytest.raises(UserError, match=r"has no operator for layers\.0\.neuron"):
        play(network, "training")


class Shifted(PooledBatchNorm):
    def forward(self, x):
        return super().forward(x) + 0.1


class Doubling(PooledBatchNorm):
    def affine(self, normalised):
        return super().affine(normalised) * 2


class Elsewhere(PooledBatchNorm):
    def statistics(self, x):
        mean, var = super().statistics(x)
        return mean + 0.1, var


class Brighter(DirectEncoder):
    def forward(self, observation):
        return super().forward(observation) * 2


class Sharper(PopulationEncoder):
    def drive(self, observation):
        return super().drive(observation * 2)


def layer_norm(network):
    network.layers[1].norm = nn.LayerNorm(8)


def shifted(network):
    norm = network.layers[0].norm
    network.layers[0].norm = Shifted(norm.shape, 0.5, rule="confidence")


def doubling(network):
    network.layers[0].norm = Doubling(network.layers[0].norm.shape, 0.5, rule="confidence")


def elsewhere(network):
    network.layers[0].norm = Elsewhere(network.layers[0].norm.shape, 0.5, rule="confidence")


def own_neuron(network):
    network.layers[0].neuron = make_neuron(dict(name="lif", decay=0.3, threshold=0.3))


def brighter(network):
    network.encoder = Brighter(84, 4)


def sharper(network):
    network.encoder = Sharper(3, 4)


def weight_norm(network):
    for layer in network.layers:
        parametrizations.weight_norm(layer.linear)
        with torch.no_grad():
            layer.linear.parametrizations.weight.original0.mul_(1.7)


def spectral_norm(network):
    parametrizations.spectral_norm(network.layers[1].linear)


def without_bias(network):
    network.layers[0].linear = nn.Linear(network.layers[0].linear.in_features, 12, bias=False)


def one_more(network):
    network.layers.insert(
        1, LayerParts("lif", "rectangular", make_strategy("vanilla"), 4).dense(12, 12)
    )


def wider(network):
    network.conv.layers[0].linear = nn.Conv2d(2, 4, 5, padding=1)


NORMALISED = (layer_norm, shifted, doubling, elsewhere, own_neuron, sharper, one_more)

CHANGES = [
    *((tiny, "carebn", change) for change in NORMALISED),
    # A normalisation takes a scaling away again.
    *((tiny, "none", change) for change in (weight_norm, spectral_norm, without_bias)),
    (tiny_conv, "none", brighter),
    (tiny_conv, "carebn", wider),
]


@pytest.mark.quick_cases(7)
@pytest.mark.parametrize("kernel", ["native", pytest.param("compile", marks=pytest.mark.slow)])
@pytest.mark.parametrize("seen", [False, True], ids=["before", "after a pass"])
@pytest.mark.parametrize(("make", "bn", "change"), CHANGES)
def test_a_changed_network_computes_what_the_naive_one_does(make, bn, change, seen, kernel):
    networks = [make(bn), make(bn, kernel=kernel)]
    x = images() if make is tiny_conv else observations()
    values = []
    for network in networks:
        if seen:
            network(x)
        torch.manual_seed(1)
        change(network)
        torch.manual_seed(2)
        learned = network(x)
        learned.square().sum().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        network.eval()
        with torch.no_grad():
            values.append([learned, network(x), *network.buffers(), *gradients])
    unchanged = make(bn).train()(x)
    assert not torch.equal(values[0][0], unchanged)
    assert values[0][0].std() > 0
    torch.testing.assert_close(values[1], values[0], rtol=1e-3, atol=2e-5)


def test_neurons_that_declare_their_own_dynamics_are_known():
    class Named(LIF):
        def constants(self):
            return super().constants()

        def forward(self, x, state=None):
            return super().forward(x, state)

    network = tiny(kernel="native")
    network.layers[0].neuron = make_neuron(Named)
    assert isinstance(network.layers[0].neuron, Neuron)
    play(network, "training")
