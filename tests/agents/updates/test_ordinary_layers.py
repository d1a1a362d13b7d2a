"""Ordinary layers that behave differently in training are left alone by what is no training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from snnrl.experiment.diagnostics import activity, errors_of_statistics
from snnrl.nn.norm import norm_layers
from tests.agents.helpers import assert_equal_states, buffers, small
from tests.agents.ppo_helpers import small_ppo


class Extractor(BaseFeaturesExtractor):
    """Features as somebody may write them."""

    def __init__(self, space: Any):
        super().__init__(space, 4)
        size = int(np.prod(space.shape))
        self.layers = nn.Sequential(
            nn.Linear(size, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4)
        )
        # Kept as it is on purpose, as of a network that was trained before.
        self.layers[3].eval()

    def forward(self, observations: Tensor) -> Tensor:
        features: Tensor = self.layers(observations.flatten(1))
        return features


VARIANTS = ["td3-spiking", "sac-spiking", "dqn", "ppo"]


def trained(variant: str, **policy_kwargs: Any) -> Any:
    arguments: dict[str, Any] = {"policy_kwargs": dict(bn="carebn", **policy_kwargs)}
    agent = small_ppo(**arguments) if variant == "ppo" else small(variant, **arguments)
    agent.learn(32 if variant == "ppo" else 20)
    return agent


def of_ordinary_layers(agent: Any) -> dict[str, Tensor]:
    return {name: b for name, b in buffers(agent.policy).items() if ".running_" in name}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_recalibration_and_measuring(variant: str, training: bool) -> None:
    agent = trained(variant, features_extractor_class=Extractor)
    agent.policy.train(training)
    for module in agent.policy.modules():
        if isinstance(module, Extractor):
            module.layers[3].eval()
    modes = [module.training for module in agent.policy.modules()]
    for layer in norm_layers(agent.policy):
        layer.moving_mean.add_(1)
    before, generator = of_ordinary_layers(agent), torch.get_rng_state()
    moving = buffers(agent.policy)

    agent.recalibrate()
    after = buffers(agent.policy)
    assert any(not torch.equal(after[name], moving[name]) for name in after if "moving_" in name)
    visited = agent.observation_space.sample()[None]
    activity(agent, visited)
    errors_of_statistics(agent, visited, np.random.default_rng(0))

    for name, buffer in of_ordinary_layers(agent).items():
        assert torch.equal(buffer, before[name]), name
    assert torch.equal(torch.get_rng_state(), generator)
    assert [module.training for module in agent.policy.modules()] == modes


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mode_means_nothing_to_spiking_layers(variant: str) -> None:
    agents = [trained(variant) for _ in range(2)]
    for agent, training in zip(agents, (True, False), strict=True):
        agent.policy.train(training)
        agent.recalibrate()
    assert_equal_states(agents[0].policy, agents[1].policy)
