"""A folded policy spikes and acts as its agent does."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from snnrl.deploy.agreement import compare_spikes
from snnrl.deploy.folding import fold
from snnrl.deploy.runtime import load, save
from snnrl.deploy.to_c import to_c
from snnrl.deploy.to_onnx import to_onnx
from snnrl.errors import UserError
from snnrl.nn.encoders.population_current import PopulationCurrentEncoder
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import norm_layers
from snnrl.nn.readouts import PopulationDecoder
from snnrl.nn.registry import names
from snnrl.nn.surrogates.fixed import Rectangular
from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo

from .policies import agent_of, observations


class Doubled(FlattenExtractor):
    def forward(self, observations: Tensor) -> Tensor:
        return 2 * super().forward(observations)


class OfSteps(gymnasium.Env):  # type: ignore[type-arg]
    """Observations that are drawn, and episodes of nine steps."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.left = 9
        return self.drawn(), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        return self.drawn(), float(np.sum(action)), self.left == 0, False, {}

    def drawn(self) -> Any:
        return self.observation_space.sample()


class Far(OfSteps):
    """Observations of double precision, far from 0 and near each other."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(-1, 1, (2,))

    def drawn(self) -> Any:
        return 1000 + self.np_random.normal(size=3) / 100


class Bytes(OfSteps):
    """Bytes in two dimensions, and bounds of actions that differ."""

    observation_space = spaces.Box(0, 255, (2, 3), np.uint8)
    action_space = spaces.Box(np.float32([-1, 2]), np.float32([3, 2.5]))


FOLDED = [name for name in names("norm") if name not in ("layernorm", "groupnorm")]
MEMBRANE = dict(name="membrane", decay=0.8)


def assert_same(agent: Any) -> None:
    policy, shown = fold(agent), observations(agent)
    agreement = compare_spikes(agent, policy, shown)
    assert agreement.near <= 2 and agreement.spikes > 1000
    usual = agent.predict(agent.normalize(shown), deterministic=True)[0]
    # A spike at the threshold changes the actions of its observation.
    differs = np.abs(policy.act(shown) - usual).reshape(len(shown), -1).max(1) > 2e-5
    assert differs.sum() <= agreement.near
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
        (dict(net_arch=[], readout="linear"), "the network has no spiking layer"),
        (dict(features_extractor_class=Doubled), "Doubled extracts features by code of its own"),
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


class OwnReadout(PopulationDecoder):
    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        return super().read(counts, time_steps) + 1


class OwnDrive(PopulationCurrentEncoder):
    def drive(self, observation: Tensor) -> Tensor:
        return super().drive(observation) * 0.9


class OwnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class OwnSurrogate(Rectangular):
    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        return super().forward(membrane, threshold + 0.1, step)


class OwnNetwork(SpikingNetwork):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x) + 1


def of_class(agent: Any, path: str, cls: type) -> None:
    """Let a module of the acting network be of a class derived from its own."""
    network = agent.acting_network()
    network.get_submodule(path).__class__ = cls


@pytest.mark.parametrize(
    ("path", "cls", "changes", "words"),
    [
        ("decoder", OwnReadout, {}, "OwnReadout has no formula"),
        ("encoder", OwnDrive, dict(encoder="population_current"), "OwnDrive has no formula"),
        ("layers.1.linear", OwnLinear, {}, "layers.1: OwnLinear has a forward of its own"),
        ("layers.0.neuron.surrogate", OwnSurrogate, {}, "layers.0: OwnSurrogate makes spikes in"),
        ("layers.0.neuron.surrogate.surrogate", OwnSurrogate, dict(bn="mpbn"), "OwnSurrogate"),
        ("", OwnNetwork, {}, "OwnNetwork has a forward of its own"),
    ],
    ids=str,
)
def test_a_class_of_ones_own_is_not_taken_for_its_base(
    path: str, cls: type, changes: dict[str, Any], words: str
) -> None:
    agent = agent_of(**changes)
    fold(agent)
    of_class(agent, path, cls)
    with pytest.raises(UserError) as refused:
        fold(agent)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_hooks_and_early_exit_are_refused() -> None:
    agent = agent_of(bn="bntt")
    network = agent.acting_network()
    assert network is not None
    network.taken = 2
    with pytest.raises(UserError, match=r"^fold: the agent leaves early; expected fold outside"):
        fold(agent)
    network.taken = None
    handle = network.decoder.register_forward_hook(lambda *_: None)
    with pytest.raises(UserError, match=r"^fold: decoder has a forward hook, which is not exp"):
        fold(agent)
    handle.remove()
    fold(agent)


def test_another_action_of_the_same_spikes_is_found() -> None:
    agent = agent_of()
    policy = fold(agent)
    wrong = policy.readout._replace(bias=policy.readout.bias + 0.01)
    with pytest.raises(UserError, match=r"^fold: actions of the same spikes are not the agent's"):
        compare_spikes(agent, policy._replace(readout=wrong), observations(agent))


def test_another_choice_of_the_same_spikes_is_found() -> None:
    agent = agent_of("dqn")
    policy, shown = fold(agent), observations(agent)
    bias = policy.readout.bias.copy()
    bias[0] += 5
    wrong = policy._replace(readout=policy.readout._replace(bias=bias))
    assert (wrong.act(shown) != policy.act(shown)).any()
    with pytest.raises(UserError, match=r"^fold: actions of the same spikes are not the agent's"):
        compare_spikes(agent, wrong, shown)


def test_other_currents_of_the_encoder_are_found() -> None:
    agent = agent_of(encoder="population_current")
    policy = fold(agent)
    wrong = policy.encoder._replace(squash=False)
    with pytest.raises(UserError, match=r"^fold: encoder: its currents are not the agent's"):
        compare_spikes(agent, policy._replace(encoder=wrong), observations(agent))


def test_potentials_that_are_no_numbers_are_not_near_the_threshold() -> None:
    agent = agent_of()
    policy = fold(agent)
    layer = policy.layers[1]
    wrong = layer._replace(bias=np.full_like(layer.bias, np.nan))
    layers = (policy.layers[0], wrong, *policy.layers[2:])
    with pytest.raises(UserError, match=r"^fold: layers\.1: \d+ neurons spike otherwise"):
        compare_spikes(agent, policy._replace(layers=layers), observations(agent))


@pytest.mark.parametrize("clip", [0.7, 10.0])
def test_normalised_observations_of_double_precision(clip: float) -> None:
    env = VecNormalize(DummyVecEnv([Far]), clip_obs=clip)
    agent = small_ppo(env, policy_kwargs=dict(bn="carebn"))
    agent.learn(64)
    # As they are after many steps: the first count as one of variance 1.
    env.obs_rms.mean[:], env.obs_rms.var[:] = 1000, 1e-4
    policy = fold(agent)
    assert policy.normaliser is not None and policy.normaliser.clip == clip
    shown = 1000 + np.random.default_rng(0).normal(size=(100, 3)) / 100
    assert compare_spikes(agent, policy, shown).near <= 1
    usual = agent.predict(agent.normalize(shown), deterministic=True)[0]
    differs = np.abs(policy.act(shown) - usual).reshape(100, -1).max(1) > 1e-4
    assert differs.sum() <= 1 and len(np.unique(usual.round(4))) > 3
    for write in (to_c, to_onnx):
        with pytest.raises(UserError, match=r"standard deviations from 0, which single precision"):
            write(policy)


def test_bytes_and_bounds_of_each_dimension() -> None:
    agent = small("td3", Bytes(), policy_kwargs=dict(bn="carebn"))
    agent.learn(64)
    policy = fold(agent)
    assert policy.observation_shape == (2, 3) and policy.action_shape == (2,)
    shown = np.random.default_rng(0).integers(0, 256, (100, 2, 3)).astype(np.uint8)
    assert compare_spikes(agent, policy, shown).near <= 1
    actions = policy.act(shown)
    usual = agent.predict(shown, deterministic=True)[0]
    assert (np.abs(actions - usual).max(1) > 1e-4).sum() <= 1
    assert (actions >= [-1, 2]).all() and (actions <= [3, 2.5]).all()


def test_ppo_clips() -> None:
    agent = agent_of("ppo")
    policy, shown = fold(agent), observations(agent)
    network = agent.acting_network()
    assert network is not None
    with torch.no_grad():
        network.decoder.bias += 50
    far = fold(agent)
    assert (far.act(shown) == agent.action_space.high).all()
    assert compare_spikes(agent, far, shown).near <= 1
    assert (policy.act(shown) < agent.action_space.high).any()


def test_another_spike_of_the_encoder_is_found() -> None:
    agent = agent_of()
    policy = fold(agent)
    wrong = policy.encoder._replace(squash=False)
    with pytest.raises(UserError, match=r"^fold: encoder: \d+ neurons spike otherwise"):
        compare_spikes(agent, policy._replace(encoder=wrong), observations(agent))
