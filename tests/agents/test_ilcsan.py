"""Agents whose outputs are membrane potentials, of neurons that are connected within a population.

The parts of ILC-SAN, each also without the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnrl.errors import UserError
from tests.agents.helpers import small
from tests.agents.ppo_helpers import small_ppo
from tests.envs import Match

AGENTS: dict[str, Any] = {
    **{name: lambda name=name, **given: small(name, **given) for name in ("td3", "ddpg", "sac")},
    "dqn": lambda **given: small("dqn", **given),
    "td3-spiking": lambda **given: small("td3-spiking", **given),
    "ppo": small_ppo,
    "ppo, discrete": lambda **given: small_ppo(Match(), **given),
}
MEMBRANE = dict(name="membrane", value="max", decay=0.8)
PARTS = [
    dict(readout=MEMBRANE),
    dict(readout="population", lateral="intra"),
    dict(readout=MEMBRANE, lateral="intra_no_self"),
]


def network_of(agent: Any) -> Any:
    found = agent.acting_network()
    return agent.policy.action_net.network if found is None else found


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("parts", PARTS, ids=["readout", "lateral", "both"])
@pytest.mark.parametrize("kernel", ["naive", "native"])
@pytest.mark.parametrize("neuron", ["lif", "alif"])
@pytest.mark.parametrize("name", AGENTS)
def test_every_algorithm_learns_and_comes_back(
    name: str, neuron: str, kernel: str, parts: dict[str, Any], tmp_path: Path
) -> None:
    if (neuron, kernel) == ("alif", "native"):
        kernel = "auto"  # It has no fused operator.
    agent = AGENTS[name](policy_kwargs=dict(kernel=kernel, neuron=neuron, **parts))
    network = network_of(agent)
    before = [parameter.clone() for parameter in network.parameters()]
    agent.learn(64)
    moved = {
        key: not torch.equal(old, new)
        for old, (key, new) in zip(before, network.named_parameters(), strict=True)
    }
    own = [key for key in moved if "lateral" in key or "decoder" in key]
    assert len(own) == (4 if "lateral" in parts else 2)
    assert all(moved[key] for key in own)
    agent.save(tmp_path / "agent.zip")
    loaded = type(agent).load(tmp_path / "agent.zip", device="cpu")
    shown = agent.observation_space.sample()
    actions = [each.predict(shown, deterministic=True)[0] for each in (agent, loaded)]
    assert np.array_equal(*actions)


def test_a_spiking_critic_has_no_connections() -> None:
    agent = small("td3-spiking", policy_kwargs=dict(lateral="intra"))
    connected = [name for name, _ in agent.policy.named_parameters() if "lateral" in name]
    assert connected and not any("critic" in name for name in connected)


def test_an_ordinary_actor_cannot_be_connected() -> None:
    with pytest.raises(UserError, match=r"^lateral=intra: an ordinary actor has no spikes"):
        small("td3-spiking", policy_kwargs=dict(actor="ann", lateral="intra"))
