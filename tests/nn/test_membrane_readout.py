"""Outputs read from the membrane potential of a non-spiking integrator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snnrl.errors import UserError
from snnrl.nn.early_exit import leaving_after
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.readouts import MembraneReadout, PopulationDecoder
from snnrl.nn.registry import names

from .learning import BOUND, error_after_training, scale_gradient
from .networks import observations, tiny

VALUES = ["last", "max", "mean"]
KERNELS = ["native", pytest.param("compile", marks=pytest.mark.slow)]


def spec(value: str = "last", decay: float = 0.8) -> dict[str, Any]:
    return dict(name="membrane", value=value, decay=decay)


def by_hand(readout: PopulationDecoder, spikes: Tensor, value: str, decay: float) -> Tensor:
    """Every membrane potential ``[A]`` of one sample by itself."""
    rows = []
    for sample in spikes.unbind(1):
        potentials = []
        for a, (weight, bias) in enumerate(zip(readout.weight, readout.bias, strict=True)):
            m, seen = torch.zeros(()), []
            for step in sample:
                own = step[a * len(weight) : (a + 1) * len(weight)]
                m = decay * m + (weight @ own + bias)
                seen.append(m)
            if value == "last":
                potentials.append(seen[-1])
            elif value == "mean":
                potentials.append(sum(seen) / len(seen))
            else:
                potentials.append(max(seen, key=lambda m: (m.abs().item(), -m.item())))
        rows.append(torch.stack(potentials))
    return torch.stack(rows)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("decay", [1.0, 0.8, 0.0])
def test_by_hand_with_gradients(value: str, decay: float) -> None:
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(5, 6, 12, generator=generator) > 0.5).float().requires_grad_()
    upstream = torch.randn(6, 3, generator=generator)
    torch.manual_seed(2)
    readout = MembraneReadout(3, 4, value=value, decay=decay)
    assert readout.weight.shape == (3, 4)
    results = []
    for values in (readout(spikes), by_hand(readout, spikes, value, decay)):
        sources = (spikes, readout.weight, readout.bias)
        results.append((values, torch.autograd.grad(values, sources, upstream)))
    torch.testing.assert_close(*results)


def test_the_potential_of_largest_magnitude_keeps_its_sign() -> None:
    readout = MembraneReadout(2, 1, value="max", decay=0.0)
    with torch.no_grad():
        readout.weight.copy_(torch.tensor([[-3.0], [3.0]]))
        readout.bias.copy_(torch.tensor([1.0, -2.0]))
    # Potentials of 1 and -2 without a spike, of -2 and 1 with one.
    assert readout(torch.tensor([[[0.0, 0.0]], [[1.0, 1.0]]])).tolist() == [[-2.0, -2.0]]


def test_of_equal_magnitudes_it_is_the_negative_one() -> None:
    """As in the published code, where the largest is taken only if it is larger."""
    readout = MembraneReadout(1, 1, value="max", decay=0.0)
    with torch.no_grad():
        readout.weight.fill_(2.0)
        readout.bias.fill_(-1.0)
    assert readout(torch.tensor([[[1.0]], [[0.0]]])).tolist() == [[-1.0]]


def test_the_weights_start_as_those_of_a_decoder_of_rates() -> None:
    readouts = []
    for make in (PopulationDecoder, MembraneReadout):
        torch.manual_seed(3)
        readouts.append(make(2, 7).state_dict())
    assert readouts[0].keys() == readouts[1].keys()
    assert all(torch.equal(readouts[0][name], readouts[1][name]) for name in readouts[0])


def results_of(network: Any, training: bool) -> tuple[Tensor, list[Any]]:
    values = network.train(training)(observations())
    values.square().sum().backward()
    return values, [parameter.grad for parameter in network.parameters()]


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("neuron", ["lif", "clif", "dn_mdcsan"])
@pytest.mark.parametrize("bn", ["none", "carebn", "bntt", "layernorm"])
@pytest.mark.parametrize("value", VALUES)
def test_every_kernel_reads_the_same(
    value: str, bn: str, neuron: str, training: bool, kernel: str
) -> None:
    naive, other = (
        results_of(tiny(bn, neuron=neuron, readout=spec(value), kernel=kernel), training)
        for kernel in ("naive", kernel)
    )
    torch.testing.assert_close(other, naive, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("value", VALUES)
def test_acting_reads_the_same(value: str, kernel: str) -> None:
    networks = [tiny(readout=spec(value), kernel=k).eval() for k in ("naive", kernel)]
    with torch.no_grad():
        naive, other = (network(observations()) for network in networks)
    torch.testing.assert_close(other, naive, rtol=1e-4, atol=1e-5)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("neuron", names("neuron"))
@pytest.mark.parametrize("value", VALUES)
def test_every_neuron_is_read(neuron: str, value: str) -> None:
    _, gradients = results_of(tiny("tdbn", neuron=neuron, readout=spec(value)), training=True)
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("kernel", ["naive", "native"])
def test_steps_that_are_left_out_are_silent(kernel: str) -> None:
    network = tiny("bntt", readout=spec(), kernel=kernel, time_steps=5).eval()
    seen: list[Tensor] = []
    for grad in (False, True):
        with torch.set_grad_enabled(grad), leaving_after(network, 3):
            seen.append(network(observations()).detach())
    torch.testing.assert_close(seen[1], seen[0])
    with leaving_after(network, 3), torch.no_grad():
        spikes = network.layers(network.encoder(observations())[:3])
    whole = torch.cat([spikes, torch.zeros(2, *spikes.shape[1:])])
    torch.testing.assert_close(seen[0], network.decoder(whole), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (dict(name="membrane", value="lasst"), r"^readout\.value=lasst: .*'last'\?$"),
        (dict(name="membrane", decay=1.5), r"^readout\.decay=1\.5: expected at most 1$"),
        (dict(name="membrane", decay=-0.1), r"^readout\.decay=-0\.1: expected at least 0$"),
        (dict(name="membrane", decai=1), r"^readout parameter=decai: .*'decay'\?$"),
        (dict(name="population", decay=1), "^readout parameter=decay: .*takes no parameters$"),
        (dict(value="last"), "^readout=.*has no name"),
        (7, "^readout=7: expected one of population, linear, membrane$"),
        (dict(name="auto"), "^readout=auto: expected one of population, linear, membrane"),
    ],
)
def test_what_a_readout_cannot_be(readout: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(readout=readout)


@pytest.mark.parametrize(("key", "value"), [("value", "max"), ("value", "mean"), ("decay", 0.5)])
def test_one_time_step_has_nothing_to_choose_from(key: str, value: Any) -> None:
    readout = {"name": "membrane", key: value}
    with pytest.raises(
        UserError, match=rf"^readout\.{key}={value}: has no .* time_steps=1, .* or "
    ):
        tiny(readout=readout, time_steps=1)
    x = observations()
    plain = tiny(readout=spec(decay=1.0), time_steps=1)(x)
    assert torch.equal(plain, tiny(readout="membrane", time_steps=1)(x))


# Mean squared error after 120 steps, of a variance of 1. It is 0.06 to 0.1; with no gradient or one
# of the wrong sign through the spikes 0.98 to 1.
def network(value: str) -> SpikingNetwork:
    return tiny("tdbn", hidden=[24, 8], readout=spec(value))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("value", VALUES)
def test_it_learns(value: str) -> None:
    assert error_after_training(network(value)) < BOUND


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("factor", [0, -1])
def test_it_does_not_with_a_wrong_gradient(
    value: str, factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_gradient(monkeypatch, factor)
    assert error_after_training(network(value)) > BOUND
