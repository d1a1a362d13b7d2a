"""Agents whose outputs are membrane potentials of an integrator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo
from tests.envs import Match

MEMBRANE = dict(name="membrane", value="max", decay=0.8)
AGENTS: dict[str, Any] = {
    **{name: lambda name=name, **given: small(name, **given) for name in ("td3", "ddpg", "sac")},
    "dqn": lambda **given: small("dqn", **given),
    "ppo": small_ppo,
    "ppo, discrete": lambda **given: small_ppo(Match(), **given),
}


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("neuron", ["lif", "alif"])
@pytest.mark.parametrize("name", AGENTS)
def test_every_algorithm_learns_and_comes_back(name: str, neuron: str, tmp_path: Path) -> None:
    agent = AGENTS[name](policy_kwargs=dict(readout=MEMBRANE, neuron=neuron))
    network = agent.acting_network()
    if network is None:  # PPO's
        network = agent.policy.action_net.network
    before = [parameter.clone() for parameter in network.parameters()]
    agent.learn(64)
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert all(moved[-2:])
    assert network.decoder.decay == 0.8
    agent.save(tmp_path / "agent.zip")
    loaded = type(agent).load(tmp_path / "agent.zip", device="cpu")
    shown = agent.observation_space.sample()
    actions = [each.predict(shown, deterministic=True)[0] for each in (agent, loaded)]
    assert np.array_equal(*actions)
