"""Agents whose ordinary actor acts as integrate-and-fire neurons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3, ConvertedAgent, SpikingAgent, convert
from snnrl.errors import UserError


@pytest.fixture(scope="module")
def trained() -> TD3:
    """A small actor that has learned a little."""
    agent = TD3(
        "AnnPolicy",
        "Pendulum-v1",
        learning_rate=1e-3,
        learning_starts=120,
        batch_size=64,
        policy_kwargs=dict(net_arch=[64, 64]),
        seed=0,
    )
    return agent.learn(240)


@pytest.fixture(scope="module")
def observations(trained: TD3) -> np.ndarray:
    """Those that the agent recorded, in the order of its episodes."""
    assert trained.replay_buffer is not None
    return trained.replay_buffer.observations[:240, 0]


@pytest.fixture(scope="module")
def converted(trained: TD3, observations: np.ndarray) -> ConvertedAgent:
    return convert(trained, observations, time_steps=200, correction=0.0)


def difference(converted: ConvertedAgent, observations: np.ndarray) -> float:
    """Mean absolute difference of actions, of which Pendulum's are in [-2, 2], scaled to 1."""
    usual, _ = converted.agent.predict(observations, deterministic=True)
    actions, _ = converted.predict(observations)
    return float(np.abs(actions - usual).mean() / 2)


def test_actions_come_near_the_ordinary_ones(
    converted: ConvertedAgent, observations: np.ndarray
) -> None:
    usual, _ = converted.agent.predict(observations, deterministic=True)
    assert usual.std() > 0.1
    errors = [
        difference(replace(converted, time_steps=steps), observations)
        for steps in (5, 10, 20, 50, 100, 200)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.02 >= errors[-1]


def test_a_state_is_reproducible_and_reset_where_an_episode_starts(
    converted: ConvertedAgent, observations: np.ndarray
) -> None:
    agent = replace(converted, time_steps=5, correction=1.0)
    two, others = observations[:2], observations[100:102]
    first, state = agent.predict(two)
    again, same = agent.predict(two)
    assert np.array_equal(first, again)
    assert all(map(np.array_equal, state, same))
    later, _ = agent.predict(others, state)
    fresh, _ = agent.predict(others)
    assert not np.array_equal(later, fresh)
    assert np.array_equal(later, agent.predict(others, state)[0])
    # The first of the two episodes starts anew, the second goes on.
    mixed, _ = agent.predict(others, state, np.array([True, False]))
    assert np.array_equal(mixed[0], fresh[0])
    assert np.array_equal(mixed[1], later[1])
    assert np.array_equal(agent.predict(others, state, np.array([False] * 2))[0], later)
    assert np.array_equal(agent.predict(others, state, np.array([True] * 2))[0], fresh)


def test_without_correction_nothing_is_carried(
    converted: ConvertedAgent, observations: np.ndarray
) -> None:
    agent = replace(converted, time_steps=5)
    _, state = agent.predict(observations[0])
    for each, layer in zip(state, agent.layers, strict=True):
        assert np.array_equal(each, layer.threshold.numpy()[None] / 2)
    one, two = agent.predict(observations[9], state)[0], agent.predict(observations[9])[0]
    assert np.array_equal(one, two)


def test_it_goes_through_evaluate_policy(
    converted: ConvertedAgent,
) -> None:
    agent = replace(converted, time_steps=5, correction=1.0)
    scores = []
    for _ in range(2):
        world = TD3._wrap_env(gymnasium.make("Pendulum-v1", max_episode_steps=20))
        world.seed(4)
        scores.append(evaluate_policy(agent, world, n_eval_episodes=2))  # type: ignore[arg-type]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DDPG("AnnPolicy", "Pendulum-v1", policy_kwargs=dict(net_arch=[16, 16])),
        lambda: SAC("AnnPolicy", "Pendulum-v1", policy_kwargs=dict(net_arch=[16, 16])),
        lambda: DQN("AnnPolicy", "CartPole-v1", policy_kwargs=dict(net_arch=[16, 16])),
        lambda: TD3("AnnPolicy", "Pendulum-v1", policy_kwargs=dict(net_arch=[16, 16], bn="carebn")),
        lambda: PPO(
            "AnnPolicy",
            "CartPole-v1",
            policy_kwargs=dict(net_arch=[16, 16], activation_fn=nn.ReLU),
        ),
        lambda: PPO(
            "AnnPolicy",
            "Pendulum-v1",
            policy_kwargs=dict(net_arch=[16, 16], activation_fn=nn.ReLU, bn="vanilla"),
        ),
        lambda: TD3(
            "SpikingPolicy",
            "Pendulum-v1",
            policy_kwargs=dict(net_arch=[16, 16], actor="ann", critic="spiking"),
        ),
    ],
    ids=["ddpg", "sac", "dqn", "normalised", "ppo", "normalised ppo", "spiking critic"],
)
def test_every_ordinary_actor(make: object) -> None:
    agent: SpikingAgent = make()  # type: ignore[operator]
    space = agent.observation_space
    shown = np.random.default_rng(0).normal(size=(64, *space.shape)).astype(np.float32)  # type: ignore[misc]
    usual, _ = agent.predict(shown, deterministic=True)
    actions, _ = convert(agent, shown, time_steps=400).predict(shown)
    assert actions.shape == usual.shape
    if usual.dtype == np.int64:
        assert (actions == usual).mean() > 0.95
    else:
        assert np.abs(actions - usual).mean() < 0.02


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(time_steps=0), ["time_steps=0", "at least 1"]),
        (dict(time_steps=2.5), ["time_steps=2.5", "integer"]),
        (dict(correction=-0.1), ["correction=-0.1", "at least 0"]),
        (dict(correction=1.5), ["correction=1.5", "at most 1"]),
        (dict(correction=float("nan")), ["correction=nan", "finite"]),
    ],
)
def test_numbers_out_of_range(
    changes: dict[str, float], words: list[str], converted: ConvertedAgent
) -> None:
    with pytest.raises(UserError) as refused:
        replace(converted, **changes)  # type: ignore[arg-type]
    assert all(word in str(refused.value) for word in words)


def test_mistakes(converted: ConvertedAgent, observations: np.ndarray) -> None:
    two = observations[:2]
    _, state = converted.predict(two)
    for call, words in (
        (lambda: convert(converted.agent, observations[:0]), "observations: none"),
        (lambda: converted.predict(two, deterministic=False), "deterministic=False"),
        (lambda: converted.predict(observations[:3], state), "state: has membrane potentials"),
        (lambda: converted.predict(two, state[:1]), "state: of 1 layers; expected 2"),
        (lambda: converted.predict(two, state, np.array([True])), "episode_start: of shape (1,)"),
    ):
        with pytest.raises(UserError) as refused:
            call()
        assert words in str(refused.value)
    spiking = TD3("SpikingPolicy", "Pendulum-v1", policy_kwargs=dict(net_arch=[8]))
    with pytest.raises(UserError, match="spikes already"):
        convert(spiking, observations)
    bad = two.copy()
    bad[1, 0] = np.nan
    # Without a refusal it would fire no spike, and act all the same.
    for call in (
        lambda: convert(converted.agent, bad),
        lambda: convert(converted.agent, np.where(np.isnan(bad), np.inf, bad)),
        lambda: converted.predict(bad),
        lambda: converted.predict(bad, state),
    ):
        with pytest.raises(UserError, match=r"^observations: .*NaN or infinite"):
            call()
    tanh = PPO("AnnPolicy", "CartPole-v1", policy_kwargs=dict(net_arch=[8]))
    with pytest.raises(UserError, match=r"mlp_extractor.policy_net.1 \(Tanh\)"):
        convert(tanh, np.zeros((2, 4), np.float32))


def test_it_has_no_file(converted: ConvertedAgent, tmp_path: Path) -> None:
    for call in (
        lambda: converted.save(tmp_path / "agent"),
        lambda: ConvertedAgent.load(tmp_path / "agent", device="cpu"),
    ):
        with pytest.raises(UserError, match=r"converted agent has no file; expected .*convert"):
            call()
    assert list(tmp_path.iterdir()) == []


class Features(BaseFeaturesExtractor):
    """Features that are no chain of layers."""

    def __init__(self, space: gymnasium.spaces.Box, branches: bool) -> None:
        super().__init__(space, 16)
        self.branches = branches
        self.a, self.b = nn.Linear(3, 8), nn.Linear(3, 8)
        self.c = nn.Linear(8, 16)
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(self.a(x))
        if self.branches:
            return torch.cat([first, self.second(self.b(x))], dim=1)
        return torch.abs(self.c(first))


@pytest.mark.parametrize("branches", [True, False])
@pytest.mark.parametrize("rows", [1, 50])
def test_features_that_are_no_chain(branches: bool, rows: int, observations: np.ndarray) -> None:
    kwargs = dict(features_extractor_class=Features)
    kwargs |= dict(features_extractor_kwargs=dict(branches=branches), net_arch=[16])  # type: ignore[dict-item]
    agent = TD3("AnnPolicy", "Pendulum-v1", policy_kwargs=kwargs, seed=0)
    with pytest.raises(UserError, match="expected a chain of layers"):
        convert(agent, observations[:rows])


def test_the_share_above_the_thresholds(
    converted: ConvertedAgent, observations: np.ndarray
) -> None:
    assert converted.share_above(observations) == 0
    few = convert(converted.agent, observations[:5])
    assert 0 < few.share_above(observations) < 1
