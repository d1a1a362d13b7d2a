"""An encoder that is given as a class is treated as the same one by its name."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from snnrl.nn.encoders.direct import DirectEncoder
from snnrl.nn.encoders.population import PopulationEncoder
from tests.agents.helpers import small
from tests.envs import Follow


class Bytes(gym.ObservationWrapper[Any, Any, Any]):
    """What :class:`Follow` observes, as numbers from 0 to 255."""

    def __init__(self) -> None:
        super().__init__(Follow())
        self.observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)

    def observation(self, observation: Any) -> np.ndarray:
        return (127 * (observation + 1)).astype(np.uint8)


class Wide(PopulationEncoder):
    pass


class Plain(DirectEncoder):
    pass


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("encoder", "name"),
    [
        (Wide, "population"),
        (PopulationEncoder, "population"),
        (dict(name=Wide, population=4), dict(name="population", population=4)),
        (Plain, "direct"),
    ],
)
def test_bytes_are_scaled_as_for_the_name(encoder: Any, name: Any) -> None:
    agents = [small("td3-spiking", Bytes(), policy_kwargs=dict(encoder=e)) for e in (encoder, name)]
    expected = None if name == "direct" else (0.0, 255.0)
    observations = torch.tensor([[0.0, 255.0], [100.0, 3.0]])
    actions = torch.tensor([[0.5, 0.1], [-0.5, 0.9]])
    for agent in agents:
        assert agent.critic.input_range == expected
        assert agent.actor.network.encoder.input_range == (0.0, 255.0)
        agent.policy.set_training_mode(False)
    with torch.no_grad():
        values = [agent.critic(observations, actions)[0] for agent in agents]
        acted = [agent.actor(observations) for agent in agents]
    assert torch.equal(*values)
    assert torch.equal(*acted)
