"""What the configuration becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from snnrl.agents import AGENTS
from snnrl.agents.normalization import ObservationNormalizer
from snnrl.experiment import builder
from snnrl.experiment.builder import build_agent, build_training_env
from snnrl.experiment.checkpoint.save import _start_episodes, save_model
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.trained import load_trained
from tests.experiment.helpers import arguments


def build(tmp_path: Path, *changes: str) -> Any:
    cfg = compose_config(arguments(tmp_path, *changes))
    return build_agent(cfg, build_training_env(cfg))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", AGENTS)
def test_every_setting_of_an_algorithm_reaches_the_agent(algo: str, tmp_path: Path) -> None:
    cfg = compose_config(arguments(tmp_path, f"algo={algo}"))
    agent = build(tmp_path, f"algo={algo}")
    elsewhere = {"name", "exploration_noise", "replacement", "normalize_observations"}
    for key, value in cfg.algo.items():
        if key in elsewhere | {"normalize_rewards", "clip_observations"}:
            continue
        found = getattr(agent, str(key))
        found = getattr(found, "frequency", found)  # train_freq
        if callable(found):  # a schedule
            found = found(1)
        expected = {("sac", "ent_coef"): "auto"}.get((algo, str(key)), value)
        assert found == expected, key
    if "exploration_noise" in cfg.algo:
        assert agent.action_noise._sigma.tolist() == [cfg.algo.exploration_noise]
    if "replacement" in cfg.algo:
        assert agent.replay_buffer.replacement is cfg.algo.replacement


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], (True, True)),
        (["algo.normalize_rewards=false"], (True, False)),
        (["algo.normalize_observations=false"], (False, True)),
        (["algo.normalize_observations=false", "algo.normalize_rewards=false"], None),
    ],
)
def test_ppo_normalises_what_is_asked(
    changes: list[str], expected: tuple[bool, bool] | None, tmp_path: Path
) -> None:
    env = build(tmp_path, "algo=ppo", "algo.gamma=0.9", *changes).env
    if expected is None:
        assert not isinstance(env, VecNormalize)
    else:
        assert (env.norm_obs, env.norm_reward, env.gamma) == (*expected, 0.9)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac", "dqn"])
def test_agents_of_replay_normalise_if_asked(algo: str, tmp_path: Path) -> None:
    assert not isinstance(build(tmp_path, f"algo={algo}").env, VecNormalize)
    words = ["algo.normalize_observations=true", "algo.clip_observations=2.5"]
    env = build(tmp_path, f"algo={algo}", *words).env
    assert isinstance(env, ObservationNormalizer)
    assert (env.norm_obs, env.norm_reward, env.clip_obs) == (True, False, 2.5)


def test_images_are_not_normalised(tmp_path: Path) -> None:
    pytest.importorskip("minatar")
    env = build(tmp_path, "algo=ppo", "env=minatar/breakout").env
    assert (env.norm_obs, env.norm_reward) == (False, True)


def test_whole_numbers_that_ppo_normalises_can_be_restored(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    env = build(tmp_path, "algo=ppo", "env=atari/pong_ram").env
    assert env.observation_space.dtype == np.float32
    (state,) = env.env_method("get_state")
    assert state is not None


def test_truth_values_that_ppo_normalises_are_numbers(tmp_path: Path) -> None:
    gymnasium.register("Switches-v0", Switches)
    env = build(tmp_path, "algo=ppo", "env.id=Switches-v0").env
    assert env.observation_space.dtype == np.float32


class Switches(gymnasium.Env[Any, Any]):
    observation_space = spaces.Box(0, 1, (3,), np.bool_)
    action_space = spaces.Discrete(2)


def test_adam_of_ppo(tmp_path: Path) -> None:
    (group,) = build(tmp_path, "algo=ppo").policy.optimizer.param_groups
    assert (group["eps"], group["fused"]) == (1e-5, True)


@pytest.mark.slow
def test_environments_have_seeds_of_their_own(tmp_path: Path) -> None:
    starts = []
    for n_envs, kind in ((1, DummyVecEnv), (2, SubprocVecEnv)):
        agent = build(tmp_path, "env=pendulum", f"env.n_envs={n_envs}", "seed=3")
        assert isinstance(agent.env, kind)
        starts.append(agent.env.reset())
        agent.env.close()
    one, two = starts
    np.testing.assert_array_equal(one[0], two[0])
    assert not np.array_equal(two[0], two[1])


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", AGENTS)
@pytest.mark.parametrize("actor", ["spiking", "ann"])
def test_spiking_parts(algo: str, actor: str, tmp_path: Path) -> None:
    critic = [] if algo == "dqn" else ["critic=spiking"]
    agent = build(tmp_path, f"algo={algo}", f"actor={actor}", *critic)
    name = "q_network" if algo == "dqn" else "actor"
    expected = ({name} if actor == "spiking" else set()) | ({"critic"} if critic else set())
    assert set(agent.parts()) == expected


def test_the_critic_has_its_own_normalisation_and_time_steps(tmp_path: Path) -> None:
    settings = ["critic=spiking", "bn@critic.bn=re_only", "critic.time_steps=3"]
    parts = build(tmp_path, *settings).parts()
    assert (parts["actor"].norm.rule, parts["critic"].norm.rule) == ("confidence", "ema")
    steps = [parts["actor"].network, parts["critic"].networks[0]]
    assert [network.encoder.time_steps for network in steps] == [2, 3]


def test_auto_means_that_ppo_replaces_its_statistics(tmp_path: Path) -> None:
    replaced = build(tmp_path, "algo=ppo").parts()["actor"]
    moved = build(tmp_path, "algo=ppo", "bn.recalibrate_every=null").parts()["actor"]
    assert replaced.norm.recalibrate_every is not None
    assert moved.norm.recalibrate_every is None


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("saved_with", ["triton", "native", "compile", "naive"])
@pytest.mark.parametrize("algo", ["td3", "ddpg", "sac", "ppo"])
def test_auto_is_decided_where_a_run_goes_on(
    algo: str, saved_with: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of another device, or of a machine with a compiler."""
    settings = ["env=pendulum", f"algo={algo}", "kernel=auto", "actor.hidden=[8]"]
    cfg = compose_config([*settings, "critic.hidden=[8]"])
    env = build_training_env(cfg)
    agent = build_agent(cfg, env)
    agent.policy_kwargs["kernel"] = saved_with
    agent.save(tmp_path / "agent.zip")
    monkeypatch.setattr(builder, "kernel_for", lambda cfg: "naive")
    loaded = builder.load_agent(cfg, str(tmp_path / "agent.zip"), env)
    assert loaded.kernel == "naive"
    assert loaded.policy_kwargs == {**agent.policy_kwargs, "kernel": "naive"}
    theirs = agent.policy.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in loaded.policy.state_dict().items())


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("asked", "becomes"), [("auto", "native"), ("naive", "naive")])
def test_a_model_keeps_the_kernel_that_was_asked_for(
    asked: str, becomes: str, tmp_path: Path
) -> None:
    agent = build(tmp_path, f"kernel={asked}")
    save_model(tmp_path / "model.zip", agent, asked)
    assert agent.policy_kwargs["kernel"] == becomes
    loaded = type(agent).load(tmp_path / "model.zip", device="cpu")
    assert (loaded.policy_kwargs["kernel"], loaded.kernel) == (asked, becomes)


def test_a_trained_agent_has_the_statistics_of_its_observations(tmp_path: Path) -> None:
    """Read as numbers, for acting and evaluating."""
    words = ["algo=sac", "algo.normalize_observations=true", "algo.clip_observations=0.5"]
    cfg = compose_config(arguments(tmp_path, *words))
    agent = build_agent(cfg, build_training_env(cfg)).learn(40)
    save_model(tmp_path / "model.zip", agent)
    trained = load_trained(cfg, tmp_path / "model.zip")
    shown = np.random.default_rng(0).normal(size=(8, 4))
    np.testing.assert_array_equal(trained.normalize(shown), agent.normalize(shown))
    assert np.abs(trained.normalize(shown)).max() == 0.5
    normalizer = trained.get_vec_normalize_env()
    assert normalizer is not None and not normalizer.training
    assert normalizer.obs_rms.count > 40


def test_an_episode_that_starts_anew_is_stored_as_it_was_observed(tmp_path: Path) -> None:
    """Where a run resumes and the environment's state could not be restored."""
    agent = build(tmp_path, "algo=td3", "algo.normalize_observations=true").learn(30)
    _start_episodes(agent)
    before = agent.env.get_original_obs()
    np.testing.assert_array_equal(agent._last_original_obs, before)
    agent.learn(1, reset_num_timesteps=False)
    buffer = agent.replay_buffer
    np.testing.assert_array_equal(buffer.observations[buffer.pos - 1], before.astype(np.float32))
