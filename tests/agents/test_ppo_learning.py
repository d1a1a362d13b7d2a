"""A quick proof that PPO's spiking actor and critic learn through their spikes."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.agents import PPO
from snnrl.ops.surrogate import DERIVATIVES
from tests.envs import Follow, Match, MatchImage

from .ppo_helpers import CONV

# Environment, policy_kwargs and the return that only learning through the spikes reaches. After
# 1,024 steps it is -1.0, 6.9, 6.8 and 5.8; without a gradient through the spikes -5.2, 3.0, 2.6
# and 2.1.
TASKS = {
    "vector": (Follow, {}, -2.5),
    "choice": (Match, {}, 5.0),
    "choice with a spiking critic": (Match, dict(critic="spiking"), 5.0),
    "choice of images": (MatchImage, dict(conv=CONV, encoder="direct"), 4.0),
}


@pytest.fixture
def no_gradient_through_the_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        DERIVATIVES, "rectangular", lambda distance, width: torch.zeros_like(distance)
    )


def train(env: Any, steps: int, **policy_kwargs: Any) -> PPO:
    agent = PPO(
        "SpikingPolicy",
        DummyVecEnv([env] * 8),
        learning_rate=3e-3,
        gamma=0.0,
        n_steps=32,
        batch_size=128,
        n_epochs=8,
        policy_kwargs=dict(net_arch=[32, 32], population=5, kernel="naive") | policy_kwargs,
        seed=0,
        device="cpu",
    )
    return agent.learn(steps)


def train_and_evaluate(task: str) -> float:
    env_class, policy_kwargs, _ = TASKS[task]
    agent, env = train(env_class, 1_024, **policy_kwargs), env_class()
    env.reset(seed=1_000)
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=20, warn=False)
    return float(mean)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("task", TASKS)
def test_a_spiking_actor_learns(task):
    assert train_and_evaluate(task) > TASKS[task][2]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("task", ["vector", "choice", "choice of images"])
@pytest.mark.usefixtures("no_gradient_through_the_spikes")
def test_it_does_not_without_a_gradient_through_the_spikes(task):
    assert train_and_evaluate(task) < TASKS[task][2]


class Waves(Follow):
    """Reward that depends on the observation alone, and not by a straight line."""

    def step(self, action: np.ndarray) -> Any:
        reward = float(waves(self.observation))
        observation, _, *rest = super().step(action)
        return observation, reward, *rest


def waves(observations: np.ndarray) -> np.ndarray:
    values: np.ndarray = np.sin(4 * observations).prod(-1)
    return values


def explained_variance_of_values() -> float:
    """0.65 after 2,048 steps, -0.1 without a gradient through the spikes."""
    agent = train(Waves, 2_048, critic="spiking")
    observations = np.random.default_rng(1).uniform(-1, 1, (500, 2)).astype(np.float32)
    with torch.no_grad():
        values = agent.policy.predict_values(torch.as_tensor(observations)).numpy().ravel()
    true = waves(observations)
    return float(1 - ((values - true) ** 2).mean() / true.var())


@pytest.mark.slow
def test_a_spiking_critic_learns():
    assert explained_variance_of_values() > 0.4


@pytest.mark.slow
@pytest.mark.usefixtures("no_gradient_through_the_spikes")
def test_the_critic_does_not_without_a_gradient_through_the_spikes():
    assert explained_variance_of_values() < 0.2
