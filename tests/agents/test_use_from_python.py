"""The agents do what Stable-Baselines3's do: files, evaluation, vectorised environments."""

from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from snnrl.agents import DDPG, TD3
from snnrl.agents.replay.buffer import random_transitions
from tests.envs import Follow

from .helpers import (
    ALGORITHMS,
    VARIANTS,
    assert_equal_states,
    buffers,
    changed,
    decisions,
    small,
    task,
)

OFTEN = dict(name="carebn", recalibrate_every=10, recalibrate_batches=3)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bn", ["none", "vanilla", OFTEN])
def test_save_and_load(variant, bn, tmp_path):
    agent = small(variant, policy_kwargs=dict(bn=bn)).learn(35)
    agent.save(tmp_path / "model")
    loaded = type(agent).load(tmp_path / "model", env=task(variant), device="cpu")
    assert_equal_states(agent.policy, loaded.policy)
    observations = np.random.default_rng(0).uniform(-1, 1, (20, *agent.observation_space.shape))
    actions = [each.predict(observations, deterministic=True)[0] for each in (agent, loaded)]
    assert np.array_equal(*actions)
    due = {name: 30 for name in agent.parts()} if bn is OFTEN else {}
    assert loaded.recalibrated_at == agent.recalibrated_at == due
    for name, part in loaded.parts().items():
        assert part.norm == agent.parts()[name].norm
    loaded.learn(20)
    assert not torch.equal(decisions(agent.policy), decisions(loaded.policy))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loaded_agent_draws_the_same_next_recalibration(variant, tmp_path):
    agent = small(variant, policy_kwargs=dict(bn=OFTEN)).learn(25)
    agent.save(tmp_path / "model")
    agent.save_replay_buffer(tmp_path / "replay")
    loaded = type(agent).load(tmp_path / "model", device="cpu")
    loaded.load_replay_buffer(tmp_path / "replay")
    before = {name: buffers(part) for name, part in agent.parts().items()}
    agent.recalibrate()
    loaded.recalibrate()
    assert before
    for name, part in agent.parts().items():
        assert changed(before[name], part)
    assert_equal_states(agent.policy, loaded.policy)


def test_what_waits_to_be_logged_or_measured_is_not_saved(tmp_path):
    agent = small(policy_kwargs=dict(bn=OFTEN)).learn(45)
    agent.save(tmp_path / "model")
    data, _, _ = load_from_zip_file(tmp_path / "model")
    assert "recalibrated_at" in data
    assert not {"losses", "statistics_before", "actor"} & data.keys()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_policy_alone_can_be_saved(variant, tmp_path):
    agent = small(variant, policy_kwargs=dict(neuron="dn", bn="vanilla")).learn(20)
    agent.policy.save(tmp_path / "policy")
    loaded = type(agent.policy).load(tmp_path / "policy", device="cpu")
    assert_equal_states(agent.policy, loaded)
    assert torch.equal(decisions(agent.policy), decisions(loaded))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_evaluate_policy(algo):
    agent = small(algo).learn(20)
    returns, lengths = evaluate_policy(
        agent, task(algo), n_eval_episodes=3, return_episode_rewards=True, warn=False
    )
    assert lengths == [8, 8, 8]
    # The worst that eight steps of two actions can cost; or at most one a step.
    low, high = (0, 8) if algo == "dqn" else (-8 * 2 * 4, 0)
    assert all(low <= value <= high for value in returns)


@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
@pytest.mark.parametrize("algorithm", [TD3, DDPG])
def test_published_networks_are_the_default(policy, algorithm):
    agent = algorithm(policy, "Pendulum-v1", device="cpu")
    critic = [256, 256] if algorithm is TD3 else [400, 300]
    sizes = [m.out_features for m in agent.critic.modules() if isinstance(m, torch.nn.Linear)]
    assert sizes == [*critic, 1] * (2 if algorithm is TD3 else 1)
    sizes = [m.out_features for m in agent.actor.modules() if isinstance(m, torch.nn.Linear)]
    assert sizes == [256, 256, 10 if policy == "SpikingPolicy" else 1]


def test_actions_are_scaled_to_the_environment():
    agent = small(env="Pendulum-v1")
    torch.nn.init.constant_(agent.actor.network.decoder.bias, 100.0)
    action, _ = agent.predict(np.zeros(3, np.float32))
    assert action == pytest.approx([2.0])


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_environments_at_once(variant):
    env = DummyVecEnv([lambda: task(variant)] * 2)
    agent = small(variant, env, policy_kwargs=dict(bn=OFTEN)).learn(30)
    assert agent.replay_buffer.n_envs == 2
    assert agent.replay_buffer.size() == 15
    assert agent.num_timesteps == 30
    assert agent._n_updates == 7
    assert agent.recalibrated_at == {name: 30 for name in agent.parts()}
    before = {name: buffers(part) for name, part in agent.parts().items()}
    agent.recalibrate()
    assert all(changed(before[name], part) for name, part in agent.parts().items())


def test_recalibration_with_a_buffer_of_sb3s():
    agent = small(n_steps=3, policy_kwargs=dict(bn=OFTEN)).learn(30)
    assert agent.recalibrated_at == {"actor": 30}


def test_random_observations_come_from_all_environments_and_rows():
    agent = small(env=DummyVecEnv([Follow, Follow]), learning_starts=1_000).learn(8)
    stored = agent.replay_buffer.observations[:4].reshape(8, 2)
    drawn = agent.sample_inputs("actor", 200, np.random.default_rng(0))[0].numpy()
    assert {tuple(row) for row in drawn} == {tuple(row) for row in stored}


def test_normalised_observations(tmp_path):
    env = VecNormalize(DummyVecEnv([Follow]))
    agent = small(env=env, policy_kwargs=dict(bn=OFTEN)).learn(60)
    assert env.obs_rms.count > 50
    raw = random_transitions(agent.replay_buffer, 30, np.random.default_rng(5))[0].numpy()
    normalised = agent.sample_inputs("actor", 30, np.random.default_rng(5))[0]
    assert normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised.numpy(), env.normalize_obs(raw), rtol=1e-6)
    assert not np.allclose(normalised.numpy(), raw, atol=1e-2)

    env.training = False
    agent.save(tmp_path / "model")
    loaded = TD3.load(tmp_path / "model", env=env, device="cpu")
    env.seed(1)
    ours = evaluate_policy(agent, env, n_eval_episodes=2, warn=False)
    env.seed(1)
    assert evaluate_policy(loaded, env, n_eval_episodes=2, warn=False) == ours


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("variant", ["td3", "sac", "dqn"])
def test_the_normalisation_of_observations_travels_with_the_agent(variant, tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: task(variant)]))
    agent = small(variant, env=env).learn(40)
    agent.save(tmp_path / "model")
    raw = np.full((3, *agent.observation_space.shape), 0.3, np.float32)
    expected = env.normalize_obs(raw)
    assert not np.allclose(expected, raw, atol=1e-2)

    without = type(agent).load(tmp_path / "model", device="cpu")
    assert np.array_equal(without.normalize(raw), expected)
    assert without.get_env() is None
    without.save(tmp_path / "unused")
    unused = type(agent).load(tmp_path / "unused", env=task(variant), device="cpu")
    assert np.array_equal(unused.get_env().normalize_obs(raw), expected)
    without.set_env(task(variant))
    assert np.array_equal(without.get_env().normalize_obs(raw), expected)

    loaded = type(agent).load(tmp_path / "model", env=task(variant), device="cpu")
    assert np.array_equal(loaded.normalize(raw), expected)
    assert loaded.get_vec_normalize_env() is loaded.get_env()
    count = loaded.get_env().obs_rms.count
    loaded.learn(30)
    assert loaded.get_env().obs_rms.count > count + 25
    loaded.save(tmp_path / "again")
    again = type(agent).load(tmp_path / "again", device="cpu")
    assert np.array_equal(again.normalize(raw), loaded.normalize(raw))
    assert not np.array_equal(again.normalize(raw), expected)


def test_without_normalisation_observations_stay_as_they_are():
    observations = np.ones((2, 2), np.float32)
    assert small().normalize(observations) is observations


@pytest.mark.parametrize("env", [Follow(dtype=np.float64), "InvertedPendulum-v4"])
def test_double_precision_observations_are_stored_in_single(env, tmp_path):
    agent = small(env=env, policy_kwargs=dict(bn=OFTEN)).learn(25)
    assert agent.observation_space.dtype == np.float64
    assert agent.policy.observation_space.dtype == np.float64
    assert agent.replay_buffer.observations.dtype == np.float32
    assert agent.replay_buffer.next_observations.dtype == np.float32
    assert agent.sample_inputs("actor", 4, np.random.default_rng(0))[0].dtype == torch.float32
    agent.save(tmp_path / "model")
    again = gym.make(env) if isinstance(env, str) else env
    loaded = TD3.load(tmp_path / "model", env=again, device="cpu")
    assert loaded.replay_buffer.observations.dtype == np.float32


def test_stored_observations_are_the_environments():
    env = Follow(dtype=np.float64)
    agent = small(env=env, learning_starts=1_000).learn(5)
    last = agent.replay_buffer.next_observations[4, 0]
    assert np.array_equal(last, env.observation.astype(np.float32))


def test_policy_keywords_are_left_as_they_were():
    given = dict(
        net_arch=[16, 12],
        kernel="naive",
        bn=dict(name="carebn", smoothing=0.7),
        neuron=dict(name="lif", decay=0.5),
        encoder=dict(name="population", population=4),
        optimizer_kwargs=dict(eps=1e-7),
    )
    before = deepcopy(given)
    for algorithm in (TD3, DDPG, TD3):
        agent = algorithm("SpikingPolicy", Follow(), policy_kwargs=given, device="cpu")
        assert given == before
        assert agent.actor.norm.settings()["smoothing"] == 0.7
        assert agent.actor.network.layers[0].neuron.decay == 0.5


def test_an_empty_net_arch_is_no_hidden_layer():
    agent = small(policy_kwargs=dict(net_arch=dict(pi=[], qf=[8])))
    assert len(agent.actor.network.layers) == 1


def test_the_progress_bar_of_learn():
    """It needs rich, which a fresh installation did not bring."""
    agent = small("td3")
    agent.learn(20, progress_bar=True)
    assert agent.num_timesteps == 20
