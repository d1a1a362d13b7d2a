"""Synaptic operations against NeuroBench's (2.3.0), where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from snnrl.agents import DQN, TD3
from snnrl.deploy.cost import cost_of
from snnrl.deploy.cost_layers import LayerCost
from tests.envs import Follow, MatchImage

benchmarks: Any = pytest.importorskip("neurobench.benchmarks")

CONV = dict(channels=[4, 6], kernels=[3, 3], strides=[2, 1], paddings=[1, 1])


def recorded(agent: Any, env: Any, steps: int = 50) -> np.ndarray:
    """Observations of an untrained agent's episodes, as its policy sees them."""
    agent.policy.set_training_mode(False)
    observations, _ = env.reset(seed=3)
    seen = []
    for _ in range(steps):
        seen.append(np.array(observations))
        action, _ = agent.predict(observations, deterministic=True)
        observations, _, ended, cut, _ = env.step(action)
        if ended or cut:
            observations, _ = env.reset()
    return np.stack(seen)


def theirs(network: nn.Module, observations: np.ndarray) -> dict[str, float]:
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel

    inputs = torch.as_tensor(observations)
    data = DataLoader(TensorDataset(inputs, torch.zeros(len(inputs))), batch_size=len(inputs))
    benchmark = benchmarks.Benchmark(TorchModel(network), data, [], [], [[], [SynapticOperations]])
    with torch.no_grad():
        found: dict[str, float] = benchmark.run(quiet=True)["SynapticOperations"]
    return found


def ours(layers: list[LayerCost]) -> dict[str, float]:
    """Sums over the modules that NeuroBench knows."""
    return {
        "Effective_MACs": sum(layer.effective_macs or 0.0 for layer in layers),
        "Effective_ACs": sum(layer.acs for layer in layers),
        "Dense": sum(layer.dense for layer in layers),
    }


def spiking(**policy: Any) -> Callable[[], tuple[Any, nn.Module, Any]]:
    def make() -> tuple[Any, nn.Module, Any]:
        settings = dict(net_arch=[24, 16], time_steps=4, population=3, kernel="naive") | policy
        env = Follow()
        agent = TD3("SpikingPolicy", env, policy_kwargs=settings, seed=0, buffer_size=1)
        return agent, agent.actor, env

    return make


def ordinary() -> tuple[Any, nn.Module, Any]:
    env = Follow()
    settings = dict(net_arch=[24, 16])
    agent = TD3("AnnPolicy", env, policy_kwargs=settings, seed=0, buffer_size=1)
    return agent, agent.actor, env


def images() -> tuple[Any, nn.Module, Any]:
    env = MatchImage()
    settings = dict(net_arch=[16], conv=CONV, time_steps=8, kernel="naive", encoder="direct")
    agent = DQN("SpikingPolicy", env, policy_kwargs=settings, seed=0, buffer_size=1)
    return agent, agent.q_net, env


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(ordinary, id="ordinary"),
        pytest.param(spiking(), id="population code"),
        pytest.param(spiking(encoder="direct", readout="linear"), id="direct, linear readout"),
        pytest.param(spiking(encoder="latency", readout="membrane"), id="latency, membrane"),
        pytest.param(spiking(encoder="population_current", bn="bntt"), id="currents, bntt"),
        pytest.param(spiking(neuron="ternary", lateral="intra"), id="ternary, connected"),
        pytest.param(images, id="convolutions"),
    ],
)
def test_synaptic_operations(make: Callable[[], tuple[Any, nn.Module, Any]]) -> None:
    agent, network, env = make()
    observations = recorded(agent, env)
    cost = cost_of(agent, observations)
    # Receptive fields, readouts of populations and connections are no modules that it knows.
    known = [
        layer
        for layer in cost.layers
        if layer.kind in ("map", "spiking") or (layer.kind == "readout" and layer.inputs == 16)
    ]
    seen, _ = agent.policy.obs_to_tensor(observations)
    found = theirs(network, seen.numpy())
    assert found["Dense"] > 0 and found["Effective_ACs"] + found["Effective_MACs"] > 0
    assert ours(known) == pytest.approx(found, rel=1e-12)


def test_a_footprint() -> None:
    from neurobench.metrics.static import Footprint
    from neurobench.models import TorchModel

    agent, network, env = ordinary()
    total = cost_of(agent, recorded(agent, env)).total
    assert total.memory("float32") == Footprint()(TorchModel(network))


def test_another_view_of_graded_spikes() -> None:
    """Of spikes of 2 NeuroBench counts a MAC each, and we two accumulations."""
    agent, network, env = spiking(
        neuron=dict(name="circulate_firing", K=3, threshold=0.1), bn="none"
    )()
    observations = recorded(agent, env)
    layers = [each for each in cost_of(agent, observations).layers if each.kind == "spiking"]
    found = theirs(network, observations)
    assert found["Effective_MACs"] > 0 == sum(layer.macs for layer in layers)
    assert ours(layers)["Effective_ACs"] > found["Effective_ACs"] + found["Effective_MACs"]
    assert ours(layers)["Dense"] == found["Dense"]
