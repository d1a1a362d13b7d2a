"""With ordinary networks our algorithms compute what Stable-Baselines3's do, bit for bit."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from .helpers import ALGORITHMS, assert_equal_states, task

STOCK = {
    "td3": stable_baselines3.TD3,
    "ddpg": stable_baselines3.DDPG,
    "sac": stable_baselines3.SAC,
    "dqn": stable_baselines3.DQN,
}
UNFUSED = dict(fused=False)
"""Our AnnPolicy has fused Adam, which rounds in another way, unless told otherwise."""

PAIRS = {algo: (ALGORITHMS[algo], stock) for algo, stock in STOCK.items()}


class BatchNormExtractor(BaseFeaturesExtractor):
    """An extractor with statistics of torch's own, which SB3 copies to the targets."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, observation_space.shape[0])
        self.norm = nn.BatchNorm1d(observation_space.shape[0])

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.norm(observations)


class LinearExtractor(BaseFeaturesExtractor):
    """An extractor with weights."""

    def __init__(self, observation_space: Any):
        super().__init__(observation_space, 3)
        self.layer = nn.Linear(observation_space.shape[0], 3)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layer(observations)


def build(algorithm: Any, policy: str = "MlpPolicy", **changes: Any) -> Any:
    discrete = issubclass(algorithm, stable_baselines3.DQN)
    arguments: dict[str, Any] = dict(
        policy_kwargs=dict(net_arch=[12, 8], optimizer_kwargs=UNFUSED),
        batch_size=32,
        learning_starts=40,
        buffer_size=500,
        seed=3,
        device="cpu",
    )
    if discrete:
        arguments |= dict(train_freq=1, target_update_interval=15, exploration_fraction=0.7)
    else:
        arguments |= dict(action_noise=NormalActionNoise(np.zeros(2), np.full(2, 0.1)))
    env = changes.pop("env", task("dqn" if discrete else "td3"))
    return algorithm(policy, env, **arguments | changes)


def fill_and_train(algorithm: Any, **changes: Any) -> Any:
    agent = build(algorithm, learning_starts=10_000, **changes)
    agent.learn(100)
    agent.set_random_seed(11)
    agent.train(gradient_steps=5, batch_size=32)
    return agent


def assert_equal_agents(ours: Any, stock: Any) -> None:
    """Networks, learned temperature and what was played."""
    assert_equal_states(ours.policy, stock.policy)
    assert ours._n_updates == stock._n_updates
    if getattr(stock, "log_ent_coef", None) is not None:
        assert torch.equal(ours.log_ent_coef, stock.log_ent_coef)
    assert np.array_equal(ours.replay_buffer.actions, stock.replay_buffer.actions)


@pytest.mark.parametrize("algo", PAIRS)
def test_gradient_steps_on_the_same_replay(algo):
    ours, stock = (fill_and_train(algorithm) for algorithm in PAIRS[algo])
    untrained = build(PAIRS[algo][0]).policy.state_dict()
    learned = [n for n, value in ours.policy.state_dict().items() if (value != untrained[n]).any()]
    assert learned
    assert_equal_agents(ours, stock)


# The AnnPolicy of DDPG has a critic of its own.
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("algo", "policy"),
    [(algo, "MlpPolicy") for algo in PAIRS]
    + [(algo, "AnnPolicy") for algo in PAIRS if algo != "ddpg"],
)
def test_learning(algo, policy):
    algorithm, stock_algorithm = PAIRS[algo]
    ours, stock = build(algorithm, policy).learn(120), build(stock_algorithm).learn(120)
    assert ours._n_updates == 80
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", PAIRS)
def test_several_gradient_steps_at_once(algo):
    changes = dict(train_freq=7, gradient_steps=3)
    ours, stock = (build(algorithm, **changes).learn(120) for algorithm in PAIRS[algo])
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", PAIRS)
def test_two_environments(algo):
    env = DummyVecEnv([lambda: task(algo)] * 2)
    ours, stock = (build(algorithm, env=env).learn(120) for algorithm in PAIRS[algo])
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", PAIRS)
def test_n_step_returns(algo):
    ours, stock = (build(algorithm, n_steps=3).learn(80) for algorithm in PAIRS[algo])
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", PAIRS)
def test_running_statistics_of_a_features_extractor_reach_the_targets(algo):
    policy_kwargs = dict(net_arch=[12, 8], features_extractor_class=BatchNormExtractor)
    ours, stock = (
        build(algorithm, policy_kwargs=policy_kwargs).learn(80) for algorithm in PAIRS[algo]
    )
    target = ours.q_net_target if algo == "dqn" else ours.critic_target
    norm = target.features_extractor.norm
    assert not torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("algo", ["td3", "sac"])
def test_a_features_extractor_learns_from_the_losses_that_it_learns_from_there(algo, share):
    policy_kwargs = dict(
        net_arch=[12, 8],
        features_extractor_class=LinearExtractor,
        share_features_extractor=share,
    )
    ours, stock = (
        build(algorithm, policy_kwargs=policy_kwargs).learn(80) for algorithm in PAIRS[algo]
    )
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "changes",
    [
        dict(ent_coef=0.2),
        dict(ent_coef="auto_0.3", target_entropy=-1.0),
        dict(target_update_interval=2, gradient_steps=4, train_freq=4),
        dict(use_sde=True, sde_sample_freq=4),
    ],
)
@pytest.mark.parametrize("policy", ["MlpPolicy", "AnnPolicy"])
def test_sac_with(changes, policy):
    ours = build(PAIRS["sac"][0], policy, **changes).learn(100)
    stock = build(PAIRS["sac"][1], **changes).learn(100)
    assert_equal_agents(ours, stock)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "changes",
    [
        dict(tau=0.3),
        dict(max_grad_norm=1e-3),
        dict(learning_rate=lambda remaining: 1e-3 * remaining),
    ],
    ids=["soft targets", "clipped gradients", "schedule"],
)
def test_dqn_with(changes):
    ours, stock = (build(algorithm, **changes).learn(100) for algorithm in PAIRS["dqn"])
    assert_equal_agents(ours, stock)
