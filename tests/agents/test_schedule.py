"""What learns is told the progress of training, before each update."""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import pytest

from snnrl.agents import AGENTS, Classifier
from snnrl.data import DataSet, DataStream, Split
from snnrl.nn.neurons.lif import LIF
from snnrl.nn.schedule import Scheduled, scheduled_modules

from .helpers import small
from .ppo_helpers import small_ppo

CASES = ["td3", "ddpg", "sac", "dqn", "ppo"]


class Aware(LIF, Scheduled):
    """A neuron of one's own that keeps what it is told."""

    def __init__(self, **shared: Any):
        super().__init__(**shared)
        self.told: list[float] = []

    def set_progress(self, remaining: float) -> None:
        self.told.append(remaining)


def agent_of(algorithm: str, **kwargs: Any) -> Any:
    """An agent whose critic spikes too, if it has one."""
    if algorithm == "dqn":
        return small("dqn", policy_kwargs=kwargs)
    kwargs |= dict(critic=dict(name="spiking", time_steps=2))
    make = small_ppo if algorithm == "ppo" else partial(small, algorithm)
    return make(policy_kwargs=kwargs)


def scales(agent: Any) -> dict[str, list[float]]:
    return {
        name: [m.scale_now.item() for m in scheduled_modules(part)]
        for name, part in agent.parts().items()
    }


def test_every_algorithm_is_here() -> None:
    assert set(CASES) == set(AGENTS)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algorithm", CASES)
def test_the_scale_of_each_gradient_step(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of(algorithm, surrogate=dict(name="atan", scale=1.0, scale_end=3.0))
    seen, step = [], type(agent)._step

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((self.num_timesteps, scales(self)))
        step(self, *args, **kwargs)

    monkeypatch.setattr(type(agent), "_step", watched)
    steps = 40 if algorithm != "ppo" else 96
    agent.learn(steps)
    assert len({now for now, _ in seen}) >= 3
    for now, found in seen:
        assert set(found) == ({"q_network"} if algorithm == "dqn" else {"actor", "critic"})
        for values in found.values():
            assert values == pytest.approx([1 + 2 * now / steps] * len(values)) and values
    assert seen[-1][0] == steps


def test_the_scale_of_each_gradient_step_of_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(32, 1, 2, 2), dtype=np.uint8)
    split = Split(images, np.arange(32) % 3)
    stream = DataStream(DataSet("made", 3, split, split), batch_size=8, generator=rng)
    surrogate = dict(name="atan", scale=1.0, scale_end=3.0)
    settings = dict(net_arch=[8], time_steps=2, kernel="naive", surrogate=surrogate)
    settings["encoder"] = "direct"
    agent = Classifier("SpikingPolicy", stream, policy_kwargs=settings, device="cpu")
    seen, step = [], Classifier._step

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        (found,) = scales(self).values()
        seen.append(set(found))
        step(self, *args, **kwargs)

    monkeypatch.setattr(Classifier, "_step", watched)
    for _ in range(2):
        agent.learn(32)
    assert seen == [{1.0}, {1.5}, {2.0}, {2.5}] * 2


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("algorithm", CASES)
def test_a_saved_agent_has_the_scale_of_its_last_update(algorithm: str) -> None:
    agent = agent_of(algorithm, surrogate=dict(name="tanh", scale=5.0, scale_end=1.0))
    agent.learn(32)
    file = io.BytesIO()
    agent.save(file)
    loaded = type(agent).load(file)
    assert scales(loaded) == scales(agent)
    assert all(value == 1 for values in scales(agent).values() for value in values)


@pytest.mark.parametrize("algorithm", ["td3", "ppo"])
def test_a_component_of_ones_own(algorithm: str) -> None:
    agent = agent_of(algorithm, neuron=Aware)
    agent.learn(32)
    for part in agent.parts().values():
        (first, *others) = [module.told for module in part.modules() if isinstance(module, Aware)]
        assert first == sorted(first, reverse=True) and first[-1] == 0
        assert all(told == first for told in others)
