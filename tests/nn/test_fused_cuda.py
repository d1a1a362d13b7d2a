"""Networks with Triton's operators, of which a CPU computes stand-ins, against naive ones."""

from __future__ import annotations

import pytest
import torch

import snnrl.ops.backend
import snnrl.ops.triton
from snnrl.nn.encoders.population import PopulationEncoder
from snnrl.nn.norm import norm_layers, recalibrating
from snnrl.nn.readouts import PopulationDecoder
from tests.ops.triton.reference import register_for_a_cpu

from .networks import images, observations, tiny, tiny_conv
from .test_fused import CLOSE, assert_same_pass, assert_same_state, inputs_for

register_for_a_cpu()


@pytest.fixture(autouse=True)
def a_cpu_passes_for_a_gpu(monkeypatch):
    monkeypatch.setattr(snnrl.ops.backend, "check_device", lambda device: None)
    monkeypatch.setattr(snnrl.ops.triton, "check_input", lambda x: None)


def pair(make=tiny, **changes):
    return make(**changes), make(**changes, kernel="triton")


NETWORKS = {
    "population": dict(),
    "bytes": dict(input_range=(-2.0, 2.0)),
    "unsquashed": dict(encoder=dict(name="population", squash=False, std=0.4)),
    "direct": dict(encoder="direct"),
    "current": dict(encoder="population_current"),
    "poisson": dict(encoder="population_poisson"),
    "counts": dict(readout="linear"),
    "membrane": dict(readout=dict(name="membrane", value="mean")),
    "images": dict(make=tiny_conv),
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("bn", ["carebn", "none", "bntt"])
def test_training_evaluation_and_recalibration(bn, network):
    naive, triton = pair(bn=bn, **network)
    for _ in range(2):
        assert assert_same_pass(naive, triton).std() > 0
    with recalibrating(naive), recalibrating(triton):
        naive(inputs_for(naive)[:7]), triton(inputs_for(triton)[:7])
    assert_same_state(naive, triton)
    naive.eval(), triton.eval()
    assert_same_pass(naive, triton)
    with torch.no_grad():
        assert_same_pass(naive, triton, learns=False)


@pytest.mark.parametrize("confidence", ["published", "corrected", "kalman"])
@pytest.mark.parametrize("effective_n", [None, "auto", 12.0])
@pytest.mark.parametrize("make", [tiny, tiny_conv])
def test_statistics_move_as_the_rule_says(make, effective_n, confidence):
    bn = dict(name="carebn", confidence=confidence, effective_n=effective_n)
    naive, triton = pair(make, bn=bn)
    for seed in range(4):
        x = images(seed) if make is tiny_conv else observations(seed)
        naive(x), triton(x)
    assert_same_state(naive, triton)
    assert all(norm.gains()["gain_mean"].max() > 0 for norm in norm_layers(triton))


def test_gradients_of_observations():
    gradients = []
    for network in pair():
        x = observations().requires_grad_()
        network(x).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0], **CLOSE)


class Doubled(PopulationEncoder):
    """Another drive, of which the operators know nothing."""

    def drive(self, observation):
        return 2 * super().drive(observation)


class Negated(PopulationDecoder):
    """Another readout."""

    def read(self, counts, time_steps):
        return -super().read(counts, time_steps)


@pytest.mark.parametrize(("part", "derived"), [("encoder", Doubled), ("decoder", Negated)])
def test_what_a_subclass_computes_is_called(part, derived):
    naive, triton = pair()
    before = tiny()(observations())
    for network in (naive, triton):
        getattr(network, part).__class__ = derived
    after = assert_same_pass(naive, triton)
    assert (after - before).abs().max() > 0.01
