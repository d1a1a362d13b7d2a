"""A folded policy spikes and acts as its agent does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from snnrl.deploy.agreement import compare_spikes
from snnrl.deploy.folding import fold
from snnrl.deploy.runtime import load, save
from snnrl.errors import UserError
from snnrl.nn.norm import norm_layers
from snnrl.nn.registry import names
from tests.agents.helpers import small

from .policies import agent_of, observations

FOLDED = [name for name in names("norm") if name not in ("layernorm", "groupnorm")]
MEMBRANE = dict(name="membrane", decay=0.8)


def assert_same(agent: Any) -> None:
    policy, shown = fold(agent), observations(agent)
    agreement = compare_spikes(agent, policy, shown)
    assert agreement.near <= 2 and agreement.spikes > 1000
    usual = agent.predict(agent.normalize(shown), deterministic=True)[0]
    if agreement.near == 0:
        np.testing.assert_allclose(policy.act(shown), usual, rtol=0, atol=2e-5)
    assert len(np.unique(usual.round(4))) > 1


@pytest.mark.parametrize("bn", FOLDED)
@pytest.mark.parametrize("neuron", ["lif", "clif"])
def test_each_normalisation(bn: str, neuron: str) -> None:
    assert_same(agent_of(bn=bn, neuron=neuron))


@pytest.mark.parametrize("neuron", ["dn", "dn_mdcsan", "plif"])
@pytest.mark.parametrize("bn", ["carebn", "mpbn"])
def test_each_neuron(neuron: str, bn: str) -> None:
    assert_same(agent_of(bn=bn, neuron=neuron))


@pytest.mark.parametrize("encoder", ["population", "population_current", "direct"])
@pytest.mark.parametrize(
    "readout",
    ["population", "linear", *(dict(MEMBRANE, value=v) for v in ("last", "max", "mean"))],
    ids=str,
)
def test_each_encoder_and_readout(encoder: str, readout: Any) -> None:
    assert_same(agent_of(encoder=encoder, readout=readout))


@pytest.mark.parametrize("variant", ["td3", "ddpg", "sac", "dqn", "ppo"])
def test_each_algorithm(variant: str) -> None:
    assert_same(agent_of(variant))


def test_a_regulated_threshold_and_any_surrogate() -> None:
    agent = agent_of(regulation="ahsar", surrogate="learnable")
    network = agent.acting_network()
    assert network is not None
    for i, layer in enumerate(network.stack()):
        layer.neuron.threshold.gain.fill_(1.1 + i / 10)
    assert_same(agent)
    assert fold(agent).layers[1].threshold[0] == pytest.approx(0.5 * 1.2)


def test_nothing_of_the_agent_moves_and_the_file_holds_all(tmp_path: Any) -> None:
    agent = agent_of(bn="bntt")
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    policy = fold(agent, {"of": "a test"})
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, before[name])
    save(policy, tmp_path / "policy.npz")
    again, shown = load(tmp_path / "policy.npz"), observations(agent)
    assert again.about == {"of": "a test"}
    np.testing.assert_array_equal(again.act(shown), policy.act(shown))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(bn="layernorm"), "LayerNorm, which normalises each input by its own"),
        (dict(bn="groupnorm", net_arch=[16, 16], population=8), "GroupNorm, which"),
        (dict(neuron="ternary"), "Ternary neurons, which have no plain form"),
        (dict(neuron="alif"), "AdaptiveLIF neurons"),
        (dict(encoder="poisson"), "PoissonEncoder has no formula"),
        (dict(readout="membrane", lateral="intra"), "layers.2 has lateral connections"),
        (dict(actor="ann", bn="none"), "the actor is an ordinary network"),
    ],
    ids=str,
)
def test_what_does_not_fold_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        fold(small("td3", policy_kwargs=changes))
    text = str(refused.value)
    assert text.startswith("fold: ") and message in text and "expected" in text
    assert "\n" not in text


def test_a_gamma_below_0_turns_no_threshold_around() -> None:
    agent = agent_of(bn="mpbn")
    network = agent.acting_network()
    assert network is not None
    with torch.no_grad():
        norm_layers(network)[1].scale_and_shift()[0][3] = -0.2
    with pytest.raises(UserError, match=r"^fold: layers\.1: MembraneBatchNorm has a gamma of 0 or"):
        fold(agent)


@pytest.mark.parametrize("layer", [0, 2])
def test_another_spike_is_found(layer: int) -> None:
    agent = agent_of()
    policy = fold(agent)
    wrong = policy.layers[layer]._replace(threshold=policy.layers[layer].threshold * 1.01)
    layers = [*policy.layers[:layer], wrong, *policy.layers[layer + 1 :]]
    with pytest.raises(UserError, match=rf"^fold: layers\.{layer}: \d+ neurons spike otherwise"):
        compare_spikes(agent, policy._replace(layers=tuple(layers)), observations(agent))


def test_another_spike_of_the_encoder_is_found() -> None:
    agent = agent_of()
    policy = fold(agent)
    wrong = policy.encoder._replace(squash=False)
    with pytest.raises(UserError, match=r"^fold: encoder: \d+ neurons spike otherwise"):
        compare_spikes(agent, policy._replace(encoder=wrong), observations(agent))
