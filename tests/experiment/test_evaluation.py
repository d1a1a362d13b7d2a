from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from snnrl.agents import DQN, PPO, TD3
from snnrl.envs import make_env
from snnrl.errors import NonFiniteError
from snnrl.experiment import evaluation
from snnrl.experiment.episode_starts import AdditiveStarts, EpisodeStarts
from snnrl.experiment.evaluation import Evaluator

SEED = 107
PUBLISHED = AdditiveStarts(SEED - 100)


class Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps the first observation of the last episode."""

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        self.start = np.array(observation)
        return observation, info


@pytest.fixture(scope="module", params=["Pendulum-v1", "InvertedPendulum-v4", "Hopper-v4"])
def env_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def agent(env_id: str) -> TD3:
    arch = {"pi": [8], "qf": [8]}
    return TD3("AnnPolicy", make_env(env_id), seed=0, policy_kwargs={"net_arch": arch})


def one_after_the_other(env_id: str, agent: TD3, episodes: int) -> list[tuple[Any, float, int]]:
    """What a single environment that is seeded once plays."""
    env = make_env(env_id)
    played = []
    for k in range(episodes):
        observation, _ = env.reset(seed=SEED if k == 0 else None)
        start, total, length, done = np.array(observation), 0.0, 0, False
        while not done:
            action, _ = agent.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, length, done = total + float(reward), length + 1, terminated or truncated
        played.append((start, total, length))
    return played


@pytest.mark.quick_cases(1)
def test_episodes_are_those_of_one_environment_seeded_once(env_id: str, agent: TD3) -> None:
    envs: list[Recorder] = []

    def make() -> Recorder:
        envs.append(Recorder(make_env(env_id)))
        return envs[-1]

    evaluator = Evaluator(make, 10, PUBLISHED)
    evaluator.run(agent)
    envs.clear()
    played = evaluator.run(agent)  # the second evaluation has the same starts
    expected = one_after_the_other(env_id, agent, 10)
    starts = np.stack([env.start for env in envs])
    np.testing.assert_array_equal(starts, np.stack([start for start, _, _ in expected]))
    assert len(np.unique(starts, axis=0)) == 10
    assert [episode.length for episode in played] == [length for _, _, length in expected]
    returns = [episode.total_reward for episode in played]
    np.testing.assert_allclose(returns, [total for _, total, _ in expected], rtol=1e-4)
    assert [episode.index for episode in played] == list(range(10))


def test_observations_are_what_the_policy_saw(env_id: str, agent: TD3) -> None:
    env = Recorder(make_env(env_id))
    (episode,) = Evaluator(lambda: env, 1, PUBLISHED).run(agent)
    assert episode.observations.shape == (episode.length, *env.start.shape)
    np.testing.assert_array_equal(episode.observations[0], env.start)


def test_a_broken_number_stops_it(agent: TD3, env_id: str) -> None:
    class Broken(gymnasium.RewardWrapper[Any, Any]):
        def reward(self, reward: Any) -> float:
            return float("nan")

    with pytest.raises(NonFiniteError, match="evaluation reward is not finite at step 0"):
        Evaluator(lambda: Broken(make_env(env_id)), 1, PUBLISHED).run(agent)


def test_a_broken_start_stops_it(agent: TD3, env_id: str) -> None:
    class Broken(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, **kwargs: Any) -> Any:
            observation, info = self.env.reset(**kwargs)
            return np.full_like(observation, np.inf), info

    with pytest.raises(NonFiniteError, match="evaluation observation is not finite at step 0"):
        Evaluator(lambda: Broken(make_env(env_id)), 1, PUBLISHED).run(agent)


class Noisy(gymnasium.Env[Any, Any]):
    """Twenty steps of rewards N(0, 1)."""

    observation_space = gymnasium.spaces.Box(-9, 9, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        reward = float(self.np_random.normal())
        return np.array([reward], np.float32), reward, self.time == 20, False, {}


@pytest.mark.parametrize("starts", [EpisodeStarts(SEED), PUBLISHED])
def test_episodes_of_a_random_environment_are_independent(starts: EpisodeStarts) -> None:
    agent = TD3("AnnPolicy", Noisy(), seed=0, policy_kwargs={"net_arch": [8]})
    played = Evaluator(Noisy, 200, starts).run(agent)
    returns = [episode.total_reward for episode in played]
    assert np.std(returns) == pytest.approx(20**0.5, rel=0.15)
    # One stream that all share would show one episode's rewards in the next, a step earlier.
    first, second = (episode.observations.ravel() for episode in played[:2])
    assert not np.isin(first[1:], second).any()


# Discrete actions


class Game(gymnasium.Env[Any, Any]):
    """Starts alike, and what happens then is random; ``steps`` long."""

    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, steps: int = 20):
        self.steps = steps

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.seeded = seed
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        reward = float(self.np_random.normal())
        return np.array([reward, self.time], np.float32), reward, self.time == self.steps, False, {}


@pytest.mark.parametrize("starts", [EpisodeStarts(SEED), PUBLISHED])
def test_games_have_seeds_of_their_own_and_repeat(starts: EpisodeStarts) -> None:
    agent = DQN("AnnPolicy", Game(), seed=0, buffer_size=10)
    made: list[Game] = []

    def make() -> Game:
        made.append(Game())
        return made[-1]

    evaluator = Evaluator(make, 4, starts)
    first, again = evaluator.run(agent), evaluator.run(agent)
    assert [env.seeded for env in made] == [episode.seed for episode in [*first, *again]]
    if starts is PUBLISHED:
        assert [episode.seed for episode in first] == [SEED + k for k in range(4)]
    assert len({episode.total_reward for episode in first}) == 4
    assert [e.total_reward for e in first] == [e.total_reward for e in again]


@pytest.mark.parametrize(("steps", "stride"), [(8, 1), (9, 2), (16, 2), (17, 4), (100, 16)])
def test_observations_of_a_long_episode_are_evenly_spread(
    steps: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "KEPT_OBSERVATIONS", 8)
    agent = DQN("AnnPolicy", Game(), seed=0, buffer_size=10)
    (episode,) = Evaluator(lambda: Game(steps), 1, PUBLISHED).run(agent)
    assert episode.length == steps
    assert episode.observations[:, 1].tolist() == list(range(0, steps, stride))


def test_observations_of_all_episodes_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 5 * 3 * 8)
    agent = DQN("AnnPolicy", Game(), seed=0, buffer_size=10)
    played = Evaluator(Game, 3, PUBLISHED).run(agent)
    assert [len(episode.observations) for episode in played] == [5, 5, 5]


def test_nothing_is_left_out_of_mujoco_s_episodes() -> None:
    humanoid = 376 * 8
    assert evaluation._kept(humanoid, 10) >= 1000


def test_the_policy_sees_normalised_observations() -> None:
    env = VecNormalize(DummyVecEnv([Game]), norm_reward=False)
    env.obs_rms.mean[:] = 5
    env.obs_rms.var[:] = 4
    agent = PPO("AnnPolicy", env, seed=0, n_steps=8, batch_size=8)
    (episode,) = Evaluator(Game, 1, PUBLISHED).run(agent)
    expected = (np.arange(20) - 5) / 2
    np.testing.assert_allclose(episode.observations[:, 1], expected, rtol=1e-5)
