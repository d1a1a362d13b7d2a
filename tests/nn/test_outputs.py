"""Neurons whose outputs are not 0 or 1: a firing rate is the share of steps in which they fired."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.activity import activity
from snnrl.nn.losses import watched
from snnrl.nn.neurons.ternary import Ternary
from snnrl.nn.registry import build, names
from snnrl.nn.surrogates.fixed import Rectangular
from snnrl.nn.traces import counted, traced
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.lif import LIFConstants

from .networks import images, observations, tiny, tiny_conv
from .parts import FUSED_NEURONS, make_neuron

SEVERAL = dict(name="circulate_firing", K=3, signed=False, rho=0.5)
OTHERS = ["ternary", "circulate_firing", SEVERAL]
# Below: tdbn, whose currents are symmetric about 0 at the start, so that spikes have both signs.


@pytest.mark.parametrize("neuron", names("neuron"))
@pytest.mark.parametrize("bn", ["tdbn", "none"])
def test_a_rate_is_a_share_of_steps(neuron: str, bn: str) -> None:
    network = tiny(bn, neuron=neuron)
    with counted(network) as rates, traced(network) as traces:
        network(observations())
        found = rates()
    for name, trace in traces.items():
        expected = (trace.spikes.abs() > 0).float().mean((0, 1))
        torch.testing.assert_close(found[name], expected)
        torch.testing.assert_close(trace.rates, expected)
        assert found[name].max() > 0
    seen = activity(network, observations()).rates
    assert all(0 <= rate <= 1 for rate in seen.values())


@pytest.mark.parametrize("neuron", OTHERS, ids=str)
def test_outputs_that_are_not_binary_occur(neuron: Any) -> None:
    network = tiny("tdbn", neuron=neuron)
    with traced(network) as traces:
        network(observations())
    for trace in traces.values():
        outputs = set(trace.spikes.unique().tolist())
        assert outputs - {0.0, 1.0}
        assert set(trace.fired.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("neuron", OTHERS, ids=str)
@pytest.mark.parametrize("make", [tiny, tiny_conv])
def test_readouts_read_the_outputs_themselves(neuron: Any, make: Any) -> None:
    network = make("tdbn", neuron=neuron)
    x = observations() if make is tiny else images()
    with traced(network) as traces:
        values = network(x)
    *_, last = traces.values()
    assert torch.equal(values, network.decoder.read(last.spikes.sum(0), 4))
    assert not torch.equal(values, network.decoder.read(last.fired.sum(0), 4))


@pytest.mark.slow
@pytest.mark.parametrize("neuron", OTHERS, ids=str)
def test_compiled_networks_count_the_same(neuron: Any) -> None:
    results = []
    for kernel in ("naive", "compile"):
        network = tiny("tdbn", neuron=neuron, kernel=kernel)
        with counted(network) as rates:
            values = network(observations())
            found = list(rates().values())
        sum(rate.mean() for rate in found).backward()
        gradient = network.layers[0].linear.weight.grad
        results.append((values.detach(), [rate.detach() for rate in found], gradient))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-5)


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("neuron", names("neuron"))
def test_a_penalty_on_rates_lowers_them(neuron: str) -> None:
    """Of negative spikes too, which a penalty on outputs would multiply."""
    network = tiny("tdbn", neuron=neuron)
    term = build("loss", dict(name="rate", weight=1.0, target=0.0))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    values = []
    for _ in range(25):
        with watched(network, [term]) as total:
            network(observations())
            value = total()
        assert value is not None
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.4 * values[0]


@pytest.mark.parametrize("neuron", OTHERS, ids=str)
def test_membranes_are_normalised_once_a_step(neuron: Any) -> None:
    """Not for each round and sign: -u has other statistics than u."""
    network = tiny("mpbn", neuron=neuron)
    seen: list[Tensor] = []
    norm = network.layers[0].neuron.surrogate.norm
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
    with traced(network) as traces:
        network(observations())
    assert torch.equal(torch.stack(seen), traces["layers.0"].membranes)


@pytest.mark.parametrize("neuron", OTHERS, ids=str)
@pytest.mark.parametrize("kernel", ["native", "auto"])
def test_fused_operators_are_refused_and_not_chosen(neuron: Any, kernel: str) -> None:
    if kernel == "native":
        with pytest.raises(UserError, match=r"expected kernel=compile or naive$"):
            tiny(neuron=neuron, kernel=kernel)
        return
    network = tiny(neuron=neuron, kernel=kernel)
    network(observations())
    assert network.kernel == "naive"
    assert "outputs" in str(network.why_not_fused())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_layer_of_them_among_others_is_refused(place: int) -> None:
    network = tiny(kernel="native")
    shape = network.layers[place].neuron.shape
    network.layers[place].neuron = make_neuron("ternary", features=shape.features)
    with pytest.raises(UserError, match=rf"no operator for layers\.{place}\.neuron \(Ternary\)"):
        network(observations())


class Mistaken(Ternary):
    """Hands a description to fused operators, which make spikes of 0 or 1."""

    def constants(self) -> Dynamics | None:
        operand = make_neuron("lif").surrogate.known(0.5)
        assert operand is not None
        return Dynamics("lif", self.threshold.level(), operand, False, LIFConstants(0.75))

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return super().forward(x, state)


def test_a_description_of_other_outputs_is_not_believed() -> None:
    assert make_neuron(Mistaken).known() is None
    with pytest.raises(UserError, match=r"expected kernel=compile or naive$"):
        tiny(neuron=Mistaken, kernel="native")


class OwnSurrogate(Rectangular):
    """One with a forward of its own, which its operand does not describe."""

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        return super().forward(membrane, threshold, step)


@pytest.mark.parametrize(
    ("neuron", "surrogate", "reason"),
    [
        ("lif", "rectangular", None),
        ("dn_mdcsan", "tanh", None),
        ("plif", "learnable", None),
        ("alif", "rectangular", "AdaptiveLIF: its threshold changes"),
        ("lif", OwnSurrogate, "OwnSurrogate has no fused operator"),
        (
            dict(name="circulate_firing", K=1, signed=False),
            "rectangular",
            "CirculateFiring: it has no fused operator",
        ),
    ],
)
def test_why_there_is_no_fused_operator(neuron: Any, surrogate: Any, reason: str | None) -> None:
    network = tiny(neuron=neuron, surrogate=surrogate)
    assert (reason is None) == (network.why_not_fused() is None)
    assert reason is None or reason in str(network.why_not_fused())


def test_which_neurons_are_fused() -> None:
    assert {"lif", "clif", "dn", "dn_mdcsan", "plif"} <= set(FUSED_NEURONS)
    assert not {"alif", "ternary", "circulate_firing"} & set(FUSED_NEURONS)
