"""What an action costs, counted again by loops and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import TD3 as StockTD3
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3, Classifier, convert
from snnrl.data import DataSet, DataStream, Split
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_layers import ENERGIES, Cost, Energy
from snnrl.errors import UserError
from snnrl.nn.encoders import Encoder
from snnrl.nn.lateral import LATERALS
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import Norm
from snnrl.nn.readouts import PopulationDecoder
from snnrl.nn.registry import names
from tests.agents.helpers import small
from tests.envs import Follow, Match, MatchImage

STEPS = 3
"""Time steps of :func:`small`."""


def seen(n: int = 7, size: int = 2) -> np.ndarray:
    generator = np.random.default_rng(5)
    return generator.uniform(-1, 1, (n, size)).astype(np.float32)


def actor(**policy: Any) -> Any:
    """An untrained TD3 agent: 2 inputs, 16 and 12 hidden neurons, 2 outputs of 3 neurons."""
    # Without normalisation untrained neurons fire at different rates.
    return small("td3", policy_kwargs=dict(bn="none") | policy)


def by_name(cost: Cost) -> dict[str, Any]:
    return {layer.name: layer for layer in cost.layers}


def spikes_of(agent: Any, observations: np.ndarray) -> dict[str, Tensor]:
    """What each layer sends, ``[T, B, ...]``, that of the encoder too."""
    network = agent.acting_network()
    sent = {"encoder": network.encoder(torch.as_tensor(observations)).detach()}
    (recorded,) = (r for name, r in agent.record(observations).items() if name != "critic")
    return sent | {name: trace.spikes.detach() for name, trace in recorded.items()}


def test_the_published_ordinary_actor() -> None:
    agent = TD3(
        "AnnPolicy",
        Follow(observations=17, actions=6),
        policy_kwargs=dict(net_arch=[256, 256]),
        buffer_size=1,
    )
    cost = cost_of(agent, seen(size=17))
    assert [layer.macs for layer in cost.layers] == [17 * 256, 256 * 256, 256 * 6]
    assert cost.total.macs == cost.total.dense == 71_424
    of_papers, measured = (cost.total.energy(constants) for constants in ENERGIES)
    assert measured == pytest.approx(283.6, abs=0.05)
    assert of_papers == pytest.approx(71_424 * 4.6 / 1000)
    assert (cost.total.acs, cost.total.updates, cost.total.rate) == (0, 0, None)
    assert cost.total.parameters == 71_424 + 256 + 256 + 6
    assert cost.total.memory("float32") == 4 * cost.total.memory("8bit")
    assert cost.reference is None


def test_published_energies() -> None:
    assert (Energy("45nm", 4.6, 0.9), Energy("measured", 3.97, 0.077)) == ENERGIES
    layer = cost_of(actor(bn="layernorm"), seen()).layers[1]
    assert layer.acs > 0 and layer.normalisation_macs > 0 and layer.macs == 0
    joules = 4.6 * layer.normalisation_macs + 0.9 * layer.acs
    assert layer.energy(ENERGIES[0]) == pytest.approx(joules / 1000)


def test_spikes_counted_in_a_loop() -> None:
    agent, observations = actor(), seen()
    network = agent.acting_network()
    with torch.no_grad():
        # A connection that is not there takes no operation.
        network.layers[1].linear.weight[3, 5] = 0
    sent = spikes_of(agent, observations)
    layers = by_name(cost_of(agent, observations))
    senders = ["encoder", "layers.0", "layers.1"]
    for i, sender in enumerate(senders):
        weight = network.layers[i].linear.weight
        operations = 0
        for step in range(STEPS):
            for b in range(len(observations)):
                for k in range(weight.shape[1]):
                    if sent[sender][step, b, k]:
                        operations += sum(int(weight[n, k] != 0) for n in range(weight.shape[0]))
        layer = layers[f"layers.{i}"]
        assert operations > 0
        assert layer.acs == pytest.approx(operations / len(observations), rel=1e-12)
        assert layer.dense == weight.numel() * STEPS
        assert (layer.inputs, layer.outputs, layer.time_steps) == (*weight.shape[::-1], STEPS)
        assert layer.rate == pytest.approx(sent[f"layers.{i}"].mean().item(), rel=1e-6)
        assert layer.updates == weight.shape[0] * STEPS
        assert layer.parameters == weight.numel() + weight.shape[0]
        assert layer.macs == layer.effective_macs == layer.normalisation_macs == 0
    assert layers["layers.1"].acs < sent["layers.0"].sum() / len(observations) * 12


def test_the_total() -> None:
    cost = cost_of(actor(), seen())
    total, layers = cost.total, cost.layers
    for field in ("dense", "acs", "macs", "effective_macs", "updates", "parameters"):
        assert getattr(total, field) == sum(getattr(layer, field) for layer in layers), field
    spiking = [layer for layer in layers if layer.kind == "spiking"]
    neurons = [layer.outputs for layer in spiking]
    assert total.rate == pytest.approx(
        np.average([layer.rate for layer in spiking], weights=neurons)
    )
    for constants in ENERGIES:
        assert total.energy(constants) == pytest.approx(
            sum(layer.energy(constants) for layer in layers)
        )
    assert cost.observations == 7


SPIKING_ENCODERS = {"population": 20, "population_poisson": 20, "poisson": 4, "latency": 4}
CURRENTS = {"population_current": 20, "direct": 2}
"""Encoders of 2 observations -> what they make of them."""


@pytest.mark.parametrize("encoder", [*SPIKING_ENCODERS, *CURRENTS])
def test_encoders(encoder: str) -> None:
    agent, observations = actor(encoder=encoder), seen()
    cost = cost_of(agent, observations)
    own, first = cost.layers[:2]
    features = {**SPIKING_ENCODERS, **CURRENTS}[encoder]
    assert (own.name, own.inputs, own.outputs, own.time_steps) == ("encoder", 2, features, STEPS)
    fields = encoder.startswith("population")
    assert own.macs == (2 * features if fields else 0)
    assert own.parameters == (2 * features if fields else 0)
    sent = spikes_of(agent, observations)["encoder"]
    if encoder in CURRENTS:
        assert (own.rate, own.updates, own.acs, first.acs) == (None, 0, 0, 0)
        assert first.macs == first.dense == features * 16 * STEPS
        assert first.effective_macs == pytest.approx((sent != 0).sum().item() * 16 / 7)
        assert any("once, not T times" in note for note in cost.notes)
    else:
        assert own.updates == features * STEPS
        assert own.rate == pytest.approx(sent.mean().item(), rel=1e-6)
        assert first.acs == pytest.approx(sent.sum().item() * 16 / 7)
        assert first.macs == 0
    assert cost.reference is not None
    assert cost.reference.macs == 2 * 16 + 16 * 12 + 12 * 2


def test_every_encoder_has_been_looked_at() -> None:
    assert {*SPIKING_ENCODERS, *CURRENTS, "frames"} == set(names("encoder"))


@pytest.mark.parametrize("readout", ["population", "linear", "membrane"])
def test_readouts(readout: str) -> None:
    agent, observations = actor(readout=readout), seen()
    cost = cost_of(agent, observations)
    own, sent = cost.layers[-1], spikes_of(agent, observations)
    assert (own.name, own.kind, own.outputs, own.normalisation_macs) == ("decoder", "readout", 2, 0)
    counts = sent["layers.1" if readout == "linear" else "layers.2"].sum(0)
    if readout == "linear":
        assert own.macs == own.dense == 12 * 2
        assert own.effective_macs == pytest.approx((counts != 0).sum().item() * 2 / 7)
        assert (own.inputs, own.parameters, len(cost.layers)) == (12, 12 * 2 + 2, 4)
    elif readout == "population":
        assert own.macs == own.dense == 6
        assert own.effective_macs == pytest.approx((counts != 0).sum().item() / 7)
        assert (own.inputs, own.acs, own.updates, own.parameters) == (6, 0, 0, 8)
    else:
        # A potential for each output, which takes spikes in every step.
        assert own.dense == 6 * STEPS
        assert own.acs == pytest.approx(counts.sum().item() / 7)
        assert (own.macs, own.updates, own.parameters) == (0, 2 * STEPS, 8)
    assert counts.sum() > 0
    assert cost.reference is not None
    assert cost.reference.macs == 2 * 16 + 16 * 12 + 12 * 2


@pytest.mark.parametrize("lateral", LATERALS)
def test_connections(lateral: str) -> None:
    agent, observations = actor(lateral=lateral), seen()
    own = by_name(cost_of(agent, observations))["layers.2.lateral"]
    sources, biased = LATERALS[lateral]
    reached = {"all": 3, "others": 2, "own": 1, "none": 0}[sources]
    before = spikes_of(agent, observations)["layers.2"][:-1]
    assert before.sum() > 0
    assert own.acs == pytest.approx(before.sum().item() * reached / 7)
    assert own.dense == 6 * reached * (STEPS - 1)
    assert own.parameters == 6 * reached + 6 * biased


@pytest.mark.parametrize(
    "neuron", ["ternary", dict(name="circulate_firing", K=3, threshold=0.05)], ids=str
)
def test_signed_and_graded_spikes(neuron: Any) -> None:
    agent, observations = actor(neuron=neuron), seen()
    cost = cost_of(agent, observations)
    sent = spikes_of(agent, observations)["layers.0"]
    assert sent.min() < 0 and (neuron == "ternary" or sent.abs().max() > 1)
    layers = by_name(cost)
    assert layers["layers.1"].acs == pytest.approx(sent.abs().sum().item() * 12 / 7)
    assert layers["layers.0"].rate == pytest.approx((sent != 0).float().mean().item(), rel=1e-6)
    assert any("|s| accumulations" in note for note in cost.notes)


@pytest.mark.parametrize("bn", names("norm"))
def test_normalisations(bn: str) -> None:
    layers = by_name(cost_of(actor(bn=bn), seen()))
    own, weights = layers["layers.1"], 16 * 12
    by_step = bn in ("bntt", "tebn", "tab")
    folds = bn in ("none", "vanilla", "ca_only", "re_only", "carebn", "tdbn", "renorm")
    standardises = bn in ("layernorm", "groupnorm")
    assert by_step + folds + standardises + (bn == "mpbn") == 1
    each = 0 if folds else 3 if standardises else 1
    assert own.normalisation_macs == each * own.updates == each * 12 * STEPS
    if folds:
        assert own.parameters == weights + 12
    elif by_step:
        assert own.parameters == weights + 2 * 12 * STEPS + (12 if bn != "bntt" else 0)
    else:
        assert own.parameters == weights + 12 + 2 * 12


def reached_by_loops(conv: dict[str, list[int]], shape: tuple[int, ...], i: int) -> np.ndarray:
    """How many outputs of convolution ``i`` each of its inputs ``shape`` reaches."""
    _, height, width = shape
    n, kernel, stride, padding = (
        conv[key][i] for key in ("channels", "kernels", "strides", "paddings")
    )
    pool = conv["pools"][i - 1] if i else 1
    reached = np.zeros(shape)
    pooled = (height // pool, width // pool)
    out = [(side + 2 * padding - kernel) // stride + 1 for side in pooled]
    for row in range(height):
        for column in range(width):
            place = (row // pool, column // pool)
            if place[0] >= pooled[0] or place[1] >= pooled[1]:
                continue
            for y in range(out[0]):
                for x in range(out[1]):
                    inside = [
                        0 <= place[axis] - (at * stride - padding) < kernel
                        for axis, at in enumerate((y, x))
                    ]
                    reached[:, row, column] += n * all(inside)
    return reached


CONVOLUTIONS = {
    "borders": dict(channels=[3, 5], kernels=[3, 2], strides=[2, 1], paddings=[1, 0], pools=[1, 1]),
    "pools": dict(channels=[3, 5], kernels=[2, 2], strides=[1, 1], paddings=[0, 1], pools=[2, 2]),
}


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_convolutions(conv: str) -> None:
    given = CONVOLUTIONS[conv]
    images = np.random.default_rng(1).integers(0, 255, (5, 1, 8, 8), np.uint8)
    neuron = dict(name="lif", threshold=0.05)
    settings = dict(conv=given, bn="none", encoder="direct", net_arch=[6], neuron=neuron)
    agent = small("dqn", MatchImage(), policy_kwargs=settings)
    cost = cost_of(agent, images)
    layers, sent = by_name(cost), spikes_of(agent, images)
    own = layers["conv.layers.0"]
    reached = reached_by_loops(given, (1, 8, 8), 0)
    assert own.macs == own.dense == reached.sum() * STEPS
    assert own.effective_macs == pytest.approx((reached * (images != 0)).sum() * STEPS / 5)
    assert own.updates == sent["conv.layers.0"][0, 0].numel() * STEPS
    assert own.rate == pytest.approx(sent["conv.layers.0"].mean().item(), rel=1e-6)

    spikes = sent["conv.layers.0"].numpy()
    reached = reached_by_loops(given, spikes.shape[2:], 1)
    own = layers["conv.layers.1"]
    assert spikes.sum() > 0
    assert own.acs == pytest.approx((spikes * reached).sum() / 5)
    assert (own.macs, own.dense) == (0, reached.sum() * STEPS)
    assert own.parameters == 3 * 5 * given["kernels"][1] ** 2 + 5

    # The layer behind: every spike that its pool does not drop reaches all 6 neurons.
    spikes, pool = sent["conv.layers.1"], given["pools"][1]
    kept = spikes[..., : spikes.shape[3] // pool * pool, : spikes.shape[4] // pool * pool]
    assert layers["layers.0"].acs == pytest.approx(kept.sum().item() * 6 / 5)
    assert kept.sum() > 0
    assert cost.reference is not None and cost.reference.name == "ordinary 3-5-6"


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_the_reference_is_the_ordinary_network_with_convolutions(conv: str) -> None:
    settings: dict[str, Any] = dict(net_arch=[6], conv=CONVOLUTIONS[conv])
    images = np.random.default_rng(1).integers(0, 255, (5, 1, 8, 8), np.uint8)
    spiking = DQN("SpikingPolicy", MatchImage(), policy_kwargs=settings, buffer_size=1, seed=0)
    ordinary = DQN("AnnPolicy", MatchImage(), policy_kwargs=settings, buffer_size=1, seed=0)
    reference, total = cost_of(spiking, images).reference, cost_of(ordinary, images).total
    assert reference is not None
    assert (reference.macs, reference.parameters) == (total.macs, total.parameters)


def test_frames_have_no_ordinary_network_beside_them() -> None:
    inputs = np.random.default_rng(0).integers(0, 3, (12, 4, 2, 6, 6), np.uint8)
    examples = Split(inputs, np.arange(12) % 3)
    stream = DataStream(DataSet("events", 3, examples, examples), 4, np.random.default_rng(0))
    conv = dict(channels=[3], kernels=[3], strides=[1])
    settings = dict(encoder="frames", time_steps=4, conv=conv, net_arch=[5], bn="none")
    agent = Classifier("SpikingPolicy", stream, policy_kwargs=settings, seed=0)
    cost = cost_of(agent, inputs)
    own, first = cost.layers[:2]
    assert (own.name, own.rate, own.updates) == ("encoder", None, 0)
    assert first.macs == 4 * 4 * 3 * 2 * 9 * 4
    assert first.effective_macs < first.macs
    assert cost.reference is None


ALGORITHMS = {"td3": TD3, "ddpg": DDPG, "sac": SAC, "ppo": PPO, "dqn": DQN}


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("bn", ["none", "vanilla"])
def test_the_reference_is_the_ordinary_agent(algo: str, bn: str) -> None:
    env, size = (Match(), 3) if algo == "dqn" else (Follow(), 2)
    small_memory: dict[str, Any] = {} if algo == "ppo" else dict(buffer_size=1)
    settings = dict(net_arch=[16, 12], bn=bn)
    made = {
        policy: ALGORITHMS[algo](policy, env, policy_kwargs=settings, seed=0, **small_memory)
        for policy in ("SpikingPolicy", "AnnPolicy")
    }
    ordinary = cost_of(made["AnnPolicy"], seen(size=size))
    spiking = cost_of(made["SpikingPolicy"], seen(size=size))
    assert spiking.reference is not None and ordinary.reference is None
    assert spiking.reference.name == "ordinary 16-12"
    assert spiking.reference.macs == ordinary.total.macs > 0
    assert spiking.reference.parameters == ordinary.total.parameters
    assert ordinary.total.normalisation_macs == 0
    assert spiking.total.acs > 0


def test_early_exit() -> None:
    agent, observations = actor(bn="bntt"), seen()
    whole = cost_of(agent, observations)
    with agent.early_exit(9.0) as steps:
        assert steps == 1
        early = cost_of(agent, observations)
    sent = spikes_of(agent, observations)
    first = by_name(early)["layers.1"]
    assert first.dense == by_name(whole)["layers.1"].dense / STEPS
    assert first.acs == pytest.approx(sent["layers.0"][:1].sum().item() * 12 / 7)
    assert by_name(early)["encoder"].updates == 20
    assert early.total.normalisation_macs == 16 + 12 + 6


@pytest.mark.parametrize("variant", ["td3", "dqn"])
def test_the_agent_stays_as_it_is(variant: str) -> None:
    agent = small(variant, policy_kwargs=dict(kernel="auto", encoder="poisson"))
    size = agent.observation_space.shape[0]
    agent.policy.set_training_mode(True)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    state, kernel = torch.get_rng_state(), agent.kernel
    one, other = (cost_of(agent, seen(600, size)) for _ in range(2))
    assert one == other
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], v) for n, v in agent.policy.state_dict().items())
    assert agent.kernel == kernel and agent.acting_network().training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in agent.policy.modules())


def test_observations_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="no observations"):
        cost_of(actor(), seen(0))
    for shown in (seen()[0], seen(size=3), seen().reshape(7, 1, 2)):
        with pytest.raises(UserError, match=r"expected \(n, 2\), as the policy sees them"):
            cost_of(actor(), shown)
    broken = seen()
    broken[2, 1] = math.nan
    with pytest.raises(UserError, match="NaN"):
        cost_of(actor(), broken)


def test_agents_without_an_actor() -> None:
    ordinary = TD3("AnnPolicy", Follow(), policy_kwargs=dict(net_arch=[8]), buffer_size=1)
    for agent in (
        convert(ordinary, seen()),
        StockTD3("MlpPolicy", Follow(), buffer_size=1),
        TD3("AnnPolicy", Follow(), _init_setup_model=False),
    ):
        with pytest.raises(UserError, match=f"cost: {type(agent).__name__} has no actor"):
            cost_of(agent, seen())  # type: ignore[arg-type]


class Scaled(BaseFeaturesExtractor):
    """An extractor with weights of its own."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 2)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, observations: Tensor) -> Tensor:
        return observations * self.scale


class Mapped(BaseFeaturesExtractor):
    """An extractor that is a linear map."""

    def __init__(self, observation_space: spaces.Box):
        super().__init__(observation_space, 5)
        self.first = nn.Linear(2, 5)

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.first(observations)
        return features


def test_an_extractor_of_ones_own() -> None:
    agent = actor(features_extractor_class=Mapped)
    cost = cost_of(agent, seen())
    first = cost.layers[0]
    assert (first.name, first.kind, first.macs) == ("features_extractor.first", "map", 10)
    assert cost.reference is not None
    assert cost.reference.macs == 2 * 5 + 5 * 16 + 16 * 12 + 12 * 2
    agent = actor(features_extractor_class=Scaled)
    with pytest.raises(UserError, match=r"cost: features_extractor \(Scaled\): its operations"):
        cost_of(agent, seen())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in agent.policy.modules())


class Halves(Neuron):
    """Sends halves of spikes."""

    binary = False

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return torch.full_like(x, 0.5), None


class Softsign(Norm):
    """No normalisation that is known."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + x.abs())


class Strange(SpikingLayer):
    """Computes something else than its class."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flip(0)


class Doubled(PopulationDecoder):
    """Reads something else than its class."""

    def read(self, counts: Tensor, time_steps: int) -> Tensor:
        return super().read(2 * counts, time_steps)


class Halved(Encoder):
    """Sends currents, with arithmetic of its own."""

    spikes = False

    def forward(self, observation: Tensor) -> Tensor:
        return (observation / 2).expand(self.time_steps, *observation.shape)


def test_an_encoder_of_ones_own() -> None:
    cost = cost_of(actor(encoder=Halved), seen())
    assert cost.layers[1].macs == 2 * 16 * STEPS
    assert "encoder (Halved): its arithmetic is unknown and left out" in cost.notes


def test_parts_that_are_not_known_are_named() -> None:
    with pytest.raises(UserError, match=r"layers\.0\.neuron \(Halves\) sends out spikes that are"):
        cost_of(actor(neuron=Halves), seen())
    agent = actor()
    layer = agent.acting_network().layers[1]
    layer.norm = Softsign(layer.neuron.shape, 0.5)
    with pytest.raises(UserError, match=r"layers\.1\.norm \(Softsign\): its operations"):
        cost_of(agent, seen())
    agent = actor()
    layer = agent.acting_network().layers[1]
    layer.linear = nn.Sequential(layer.linear, nn.Linear(12, 12))
    with pytest.raises(UserError, match=r"layers\.1\.linear\.0 \(Linear\): its operations"):
        cost_of(agent, seen())
    agent = actor()
    network = agent.acting_network()
    layer = network.layers[1]
    network.layers[1] = Strange(layer.linear, layer.norm, layer.neuron)
    with pytest.raises(UserError, match=r"layers\.1\.linear \(Linear\): its operations"):
        cost_of(agent, seen())
    agent = actor()
    agent.acting_network().decoder.__class__ = Doubled
    with pytest.raises(UserError, match=r"decoder \(Doubled\): its operations"):
        cost_of(agent, seen())
    agent = actor()
    agent.acting_network().decoder = nn.Flatten(2)
    with pytest.raises(UserError, match=r"decoder \(Flatten\): its operations"):
        cost_of(agent, seen())
