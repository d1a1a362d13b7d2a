"""With ordinary networks our algorithms compute what Stable-Baselines3's do, bit for bit."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from snnrl.agents import DDPG, TD3
from tests.envs import Follow

from .helpers import assert_equal_states

PAIRS = {
    "td3": (TD3, stable_baselines3.TD3),
    "ddpg": (DDPG, stable_baselines3.DDPG),
}


class BatchNormExtractor(BaseFeaturesExtractor):
    """An extractor with statistics of torch's own, which SB3 copies to the targets."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, observation_space.shape[0])
        self.norm = nn.BatchNorm1d(observation_space.shape[0])

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.norm(observations)


def build(algorithm: Any, **changes: Any) -> Any:
    arguments: dict[str, Any] = dict(
        policy_kwargs=dict(net_arch=[12, 8]),
        batch_size=32,
        learning_starts=40,
        buffer_size=500,
        seed=3,
        device="cpu",
        action_noise=NormalActionNoise(np.zeros(2), np.full(2, 0.1)),
    )
    return algorithm("MlpPolicy", Follow(), **arguments | changes)


def fill_and_train(algorithm: Any, **changes: Any) -> Any:
    agent = build(algorithm, learning_starts=10_000, **changes)
    agent.learn(100)
    agent.set_random_seed(11)
    agent.train(gradient_steps=5, batch_size=32)
    return agent


@pytest.mark.parametrize("algo", PAIRS)
def test_gradient_steps_on_the_same_replay(algo):
    ours, stock = (fill_and_train(algorithm) for algorithm in PAIRS[algo])
    untrained = build(PAIRS[algo][0])
    assert not torch.equal(ours.actor.mu[0].weight, untrained.actor.mu[0].weight)
    assert_equal_states(ours.policy, stock.policy)


@pytest.mark.parametrize("algo", PAIRS)
def test_learning(algo):
    ours, stock = (build(algorithm).learn(120) for algorithm in PAIRS[algo])
    assert ours._n_updates == stock._n_updates == 80
    assert_equal_states(ours.policy, stock.policy)


@pytest.mark.parametrize("algo", PAIRS)
def test_n_step_returns(algo):
    ours, stock = (build(algorithm, n_steps=3).learn(80) for algorithm in PAIRS[algo])
    assert_equal_states(ours.policy, stock.policy)


@pytest.mark.parametrize("algo", PAIRS)
def test_running_statistics_of_a_features_extractor_reach_the_targets(algo):
    policy_kwargs = dict(net_arch=[12, 8], features_extractor_class=BatchNormExtractor)
    ours, stock = (
        build(algorithm, policy_kwargs=policy_kwargs).learn(80) for algorithm in PAIRS[algo]
    )
    norm = ours.actor_target.features_extractor.norm
    assert not torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    assert_equal_states(ours.policy, stock.policy)
