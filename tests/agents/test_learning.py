"""A quick proof that the spiking actor learns through its spikes, and not around them."""

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise

from snnrl.agents import TD3
from snnrl.ops.surrogate import DERIVATIVES
from tests.envs import Follow

# After 600 steps seeds 0 to 2 return -1.2 to -0.8, and with no gradient through the spikes
# -5.4 to -4.7, which is what acting 0 returns: only the decoder's weights learn then.
LEARNED = -2.5


def train_and_evaluate(seed: int) -> float:
    agent = TD3(
        "SpikingPolicy",
        Follow(),
        learning_rate=1e-3,
        gamma=0.5,
        batch_size=64,
        learning_starts=100,
        action_noise=NormalActionNoise(np.zeros(2), np.full(2, 0.2)),
        policy_kwargs=dict(net_arch=[32, 32], population=3, kernel="naive"),
        seed=seed,
        device="cpu",
    )
    agent.learn(600)
    env = Follow()
    env.reset(seed=1_000 + seed)
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=20, warn=False)
    return float(mean)


def test_spiking_td3_learns():
    assert train_and_evaluate(seed=0) > LEARNED


def test_it_does_not_without_a_gradient_through_the_spikes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(
        DERIVATIVES, "rectangular", lambda distance, width: torch.zeros_like(distance)
    )
    assert train_and_evaluate(seed=0) < LEARNED
