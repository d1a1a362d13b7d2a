"""What layers do in a pass, seen from outside."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from snnrl.errors import UserError
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.neurons import Neuron
from snnrl.nn.traces import counted, traced

from .networks import images, observations, tiny, tiny_conv

KERNELS = ["naive", "native", pytest.param("compile", marks=pytest.mark.slow)]


def inputs(network: SpikingNetwork) -> torch.Tensor:
    return images() if hasattr(network.conv, "layers") else observations()


@pytest.mark.quick_cases(15)
@pytest.mark.parametrize("bn", ["carebn", "none", "bntt", "layernorm"])
@pytest.mark.parametrize("make", [tiny, tiny_conv])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("training", [True, False])
def test_every_kernel_counts(kernel: str, make: Any, bn: str, training: bool) -> None:
    network = make(bn, kernel=kernel).train(training)
    seen = make(bn).train(training)
    with traced(seen) as traces:
        expected = seen(inputs(seen))
    with counted(network) as rates:
        values = network(inputs(network))
        found = rates()
    torch.testing.assert_close(values, expected, rtol=1e-3, atol=2e-5)
    assert list(found) == list(traces)
    for name, trace in traces.items():
        torch.testing.assert_close(found[name], trace.rates)
    assert any(trace.rates.max() > 0 for trace in traces.values())
    assert network.kernel == kernel
    assert all(layer.rates is None for layer in network.stack())


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_flow_through_rates(kernel: str) -> None:
    gradients = []
    for network in (tiny(), tiny(kernel=kernel)):
        with counted(network) as rates:
            network(observations())
            sum(rate.square().mean() for rate in rates().values()).backward()
        gradients.append([layer.norm.gamma.grad for layer in network.layers])
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-6)


def test_a_trace_by_hand() -> None:
    network = tiny("none").eval()
    with traced(network) as traces:
        network(observations())
    spikes = network.encoder(observations())
    for name, layer in (("layers.0", network.layers[0]), ("layers.1", network.layers[1])):
        trace = traces[name]
        torch.testing.assert_close(trace.currents, layer.linear(spikes))
        membrane = torch.zeros_like(trace.currents[0])
        for step, current in enumerate(trace.currents):
            membrane = 0.75 * membrane + current
            torch.testing.assert_close(trace.membranes[step], membrane)
            assert torch.equal(trace.spikes[step], (membrane > 0.5).float())
            membrane = membrane * (membrane <= 0.5)
        spikes = trace.spikes


def test_gradients_flow_through_membranes_of_any_kernel() -> None:
    network = tiny(kernel="native")
    with traced(network) as traces:
        network(observations())
        traces["layers.1"].membranes.square().mean().backward()
    assert network.layers[0].linear.weight.grad.abs().max() > 0
    assert network.kernel == "native"
    assert not any(module._forward_hooks for module in network.modules())


class Deaf(Neuron):
    """Spikes without asking its surrogate."""

    def forward(self, x: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        return (x > 0).to(x.dtype), state


def test_a_neuron_whose_membranes_are_not_known() -> None:
    network = tiny(neuron=Deaf)
    with (
        traced(network),
        pytest.raises(UserError, match=r"^layers\.0\.neuron \(Deaf\): called its surrogate 0"),
    ):
        network(observations())
    with counted(network) as rates:
        network(observations())
        assert set(rates()) == {"layers.0", "layers.1", "layers.2"}
