"""PPO does what Stable-Baselines3's does, with spiking networks in its policy."""

import math
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import Tensor, nn

from snnrl.agents import PPO
from snnrl.agents.policies.features import ConvExtractor
from snnrl.agents.policies.options import UnflattenedExtractor
from snnrl.errors import NonFiniteError, UserError
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm.error import statistics_error
from tests.envs import Follow, Match, MatchImage

from .helpers import assert_equal_states
from .ppo_helpers import CONV, small_ppo

ENVS = {"box": Follow, "discrete": Match}
OBSERVATIONS = {
    env: np.random.default_rng(0).uniform(-1, 1, (20, n)).astype(np.float32)
    for env, n in (("box", 2), ("discrete", 3))
}


def outputs(agent: PPO, observations: np.ndarray) -> list[np.ndarray]:
    """Greedy actions and values."""
    with torch.no_grad():
        values = agent.policy.predict_values(torch.as_tensor(observations)).numpy()
    return [agent.predict(observations, deterministic=True)[0], values]


def assert_same_outputs(one: PPO, other: PPO, observations: np.ndarray) -> None:
    pairs = zip(outputs(one, observations), outputs(other, observations), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


# Like Stable-Baselines3's


def test_without_spiking_networks_there_are_no_parts():
    agent = small_ppo(policy="AnnPolicy").learn(32)
    assert agent.parts() == {}
    assert agent.kernel == "naive"
    assert agent.recalibrated_at == {}
    assert agent.last_rollout is None


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("envs", [1, 2])
def test_two_runs_are_bit_identical(env, envs):
    def run(seed: int) -> PPO:
        agent = small_ppo(
            DummyVecEnv([ENVS[env]] * envs), seed=seed, policy_kwargs=dict(critic="spiking")
        )
        return agent.learn(64)

    one, other, another_seed = run(5), run(5), run(6)
    assert one.num_timesteps == 64
    assert_equal_states(one.policy, other.policy)
    weights = [agent.policy.action_net.network.decoder.weight for agent in (one, another_seed)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize("env", ENVS)
def test_evaluate_policy(env):
    agent = small_ppo(ENVS[env]())
    _, lengths = evaluate_policy(
        agent, ENVS[env](), n_eval_episodes=3, return_episode_rewards=True, warn=False
    )
    assert lengths == [8, 8, 8]


# Networks


def sizes(*networks: nn.Module) -> list[int]:
    """Outputs of each dense layer."""
    modules = nn.ModuleList(networks).modules()
    return [module.out_features for module in modules if isinstance(module, nn.Linear)]


def unchanged(start, learned):
    """Parameters that did not learn, but for biases that a normalisation takes away at once."""
    absorbed = {
        name.replace(".norm.gamma", ".linear.bias") for name in start if name.endswith("norm.gamma")
    }
    same = {name for name, value in start.items() if torch.equal(value, learned[name])}
    return same - absorbed


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("critic", ["ann", "spiking"])
@pytest.mark.parametrize("actor", ["ann", "spiking"])
def test_actor_and_critic_spike_or_do_not(actor, critic, env):
    agent = small_ppo(ENVS[env](), policy_kwargs=dict(actor=actor, critic=critic))
    chosen = dict(actor=actor, critic=critic)
    assert list(agent.parts()) == [name for name, kind in chosen.items() if kind == "spiking"]
    start = {name: value.clone() for name, value in agent.policy.named_parameters()}
    agent.learn(64)
    learned = dict(agent.policy.named_parameters())
    assert learned.keys() == start.keys()
    assert unchanged(start, learned) == set()
    policy, outputs = agent.policy, 2 if env == "box" else 3
    assert sizes(policy.mlp_extractor.policy_net, policy.action_net) == [
        *(16, 12),
        outputs * (3 if actor == "spiking" else 1),
    ]
    assert sizes(policy.mlp_extractor.value_net, policy.value_net) == [16, 12, 1]


def test_hidden_layers_of_actor_and_critic_differ_and_are_256_unless_given():
    default = PPO("SpikingPolicy", Follow(), device="cpu").policy
    assert sizes(default.action_net) == [256, 256, 2 * 10]
    assert sizes(default.mlp_extractor, default.value_net) == [256, 256, 1]
    arch = dict(pi=[7], vf=[5, 4])
    given = small_ppo(policy_kwargs=dict(net_arch=arch, critic="spiking")).policy
    assert sizes(given.action_net) == [7, 2 * 3]
    assert sizes(given.value_net) == [5, 4, 1]


def test_the_mean_is_not_bounded_and_its_deviation_is_a_parameter():
    agent = small_ppo(policy_kwargs=dict(log_std_init=-1.0))
    nn.init.constant_(agent.policy.action_net.network.decoder.bias, 100.0)
    distribution = agent.policy.get_distribution(torch.zeros(1, 2)).distribution
    assert distribution.mean.min() > 90
    assert torch.equal(distribution.stddev, torch.full((1, 2), math.exp(-1)))


def test_orthogonal_initialisation_is_for_ordinary_networks_alone():
    policy = small_ppo(policy_kwargs=dict(net_arch=[16, 16], bn="none")).policy
    dense = policy.mlp_extractor.value_net[2].weight
    torch.testing.assert_close(dense @ dense.T, 2 * torch.eye(16))
    spiking = policy.action_net.network.layers[1].linear
    # As torch's: uniform within 1 / sqrt(inputs), biases too, which SB3 sets to 0.
    assert 0.2 < spiking.weight.abs().max() <= 0.25
    assert 0.1 < spiking.bias.abs().max() <= 0.25


def test_the_critic_has_its_own_normalisation_and_time():
    critic = dict(name="spiking", bn=dict(name="vanilla", momentum=0.3), time_steps=7)
    parts = small_ppo(policy_kwargs=dict(critic=critic)).parts()
    assert parts["actor"].norm.rule == "confidence"
    assert parts["critic"].norm.settings()["momentum"] == 0.3
    assert parts["actor"].network.encoder.time_steps == 3
    assert parts["critic"].network.encoder.time_steps == 7


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("actor", ["ann", "spiking"])
@pytest.mark.parametrize("critic", ["ann", "spiking"])
def test_images(actor, critic, tmp_path):
    policy_kwargs = dict(conv=CONV, encoder="direct", actor=actor, critic=critic)
    agent = small_ppo(MatchImage(), policy_kwargs=policy_kwargs)
    policy = agent.policy
    kinds = {"spiking": SpikingNetwork, "ann": ConvExtractor}
    for kind, part in ((actor, "policy"), (critic, "value")):
        last = policy.action_net if part == "policy" else policy.value_net
        network = nn.ModuleList([getattr(policy.mlp_extractor, f"{part}_net"), last])
        assert any(isinstance(module, kinds[kind]) for module in network.modules())
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert [c.out_channels for c in convolutions] == [4, 8]
    start = {name: value.clone() for name, value in policy.named_parameters()}
    agent.learn(64)
    learned = dict(policy.named_parameters())
    assert unchanged(start, learned) == set()

    observations = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8)
    agent.save(tmp_path / "model")
    assert_same_outputs(agent, PPO.load(tmp_path / "model", device="cpu"), observations)
    for name in agent.parts():
        (inputs,) = agent.part_inputs(name, torch.as_tensor(observations))
        assert torch.equal(inputs, torch.as_tensor(observations) / 255)


def test_parts_are_called_with_what_the_policy_gives_them():
    agent = small_ppo(policy_kwargs=dict(critic="spiking"))
    given: dict[str, Tensor] = {}
    for name, part in agent.parts().items():
        part.register_forward_pre_hook(lambda _, inputs, name=name: given.update({name: inputs[0]}))
    observations = torch.as_tensor(OBSERVATIONS["box"])
    agent.policy(observations)
    for name in ("actor", "critic"):
        (inputs,) = agent.part_inputs(name, observations)
        assert torch.equal(inputs, given[name])


def test_errors_of_statistics_are_measured_on_the_rollout():
    agent = small_ppo(policy_kwargs=dict(critic="spiking", bn="vanilla")).learn(32)
    generator = np.random.default_rng(0)
    for name, part in agent.parts().items():
        inputs = agent.sample_inputs(name, 200, generator)
        errors = statistics_error(part, [inputs])
        assert next(iter(errors)) == "network.layers.0.norm"
        # One step of 0.1 is far from the rollout's, a replacement is not.
        close = errors["network.layers.0.norm"].mean_error < 0.3
        assert close is (name == "critic")


# Files


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("bn", ["none", "vanilla", "carebn"])
def test_save_and_load(env, bn, tmp_path):
    agent = small_ppo(ENVS[env](), policy_kwargs=dict(bn=bn, critic="spiking")).learn(64)
    agent.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", env=ENVS[env](), device="cpu")
    assert_equal_states(agent.policy, loaded.policy)
    assert_same_outputs(agent, loaded, OBSERVATIONS[env])
    assert loaded.recalibrated_at == agent.recalibrated_at
    assert loaded.sample_inputs("critic", 4, np.random.default_rng(0)) is None
    loaded.learn(32, reset_num_timesteps=False)
    assert loaded.num_timesteps == 96
    assert loaded.sample_inputs("critic", 4, np.random.default_rng(0)) is not None
    assert not np.array_equal(
        outputs(agent, OBSERVATIONS[env])[1], outputs(loaded, OBSERVATIONS[env])[1]
    )


def test_what_waits_to_be_logged_or_measured_is_not_saved(tmp_path):
    agent = small_ppo().learn(32)
    agent.save(tmp_path / "model")
    data, _, _ = load_from_zip_file(tmp_path / "model")
    assert "recalibrated_at" in data
    assert not {"losses", "statistics_before", "last_rollout", "rollout_buffer"} & data.keys()


@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
def test_a_policy_alone_can_be_saved(policy, tmp_path):
    agent = small_ppo(policy=policy).learn(32)
    agent.policy.save(tmp_path / "policy")
    loaded = type(agent.policy).load(tmp_path / "policy", device="cpu")
    ours, theirs = (p.predict(OBSERVATIONS["box"], deterministic=True)[0] for p in (agent, loaded))
    assert np.array_equal(ours, theirs)


def test_normalised_observations_travel_with_the_agent(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: Shifted(Follow())]), clip_obs=5.0)
    agent = small_ppo(env).learn(64)
    assert env.obs_rms.mean == pytest.approx([7, 7], abs=0.3)
    observations = 7 + OBSERVATIONS["box"]
    agent.save(tmp_path / "model")

    alone = PPO.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(alone.normalize(observations), env.normalize_obs(observations))
    assert np.abs(alone.normalize(observations).mean(0)).max() < 1
    assert_same_outputs(agent, alone, alone.normalize(observations))

    raw = DummyVecEnv([lambda: Shifted(Follow())])
    loaded = PPO.load(tmp_path / "model", env=raw, device="cpu")
    wrapped = loaded.get_vec_normalize_env()
    assert wrapped is not None
    assert wrapped.venv is raw
    assert wrapped.clip_obs == 5.0
    np.testing.assert_array_equal(wrapped.obs_rms.mean, env.obs_rms.mean)
    np.testing.assert_array_equal(wrapped.ret_rms.var, env.ret_rms.var)
    count = wrapped.obs_rms.count
    loaded.learn(64, reset_num_timesteps=False)
    assert wrapped.obs_rms.count == count + 65
    inputs = loaded.sample_inputs("actor", 100, np.random.default_rng(0))
    assert inputs is not None
    assert inputs[0].mean(0).abs().max() < 1


class Shifted(gym.ObservationWrapper):
    """Observations around 7."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(6, 8, (2,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation + 7


# Losses


class Record(Logger):
    """A logger that keeps what is dumped."""

    def __init__(self) -> None:
        super().__init__(folder=None, output_formats=[])
        self.rows: list[dict[str, Any]] = []

    def dump(self, step: int = 0) -> None:
        self.rows.append(dict(self.name_to_value))
        super().dump(step)


def test_losses_without_a_log_interval_are_dumped_on_request():
    agent = small_ppo()
    log = Record()
    agent.set_logger(log)
    agent.learn(64, log_interval=None)
    assert log.rows == []
    agent.dump_logs()
    (row,) = log.rows
    assert row["train/n_updates"] == 4
    assert row["train/learning_rate"] == 3e-4
    assert row["time/total_timesteps"] == 64
    for name in ("loss", "value_loss", "policy_gradient_loss", "entropy_loss", "approx_kl"):
        assert math.isfinite(row[f"train/{name}"])
    agent.dump_logs()
    assert "train/loss" not in log.rows[1]


def test_stable_baselines3s_own_logging_goes_on():
    agent = small_ppo()
    log = Record()
    agent.set_logger(log)
    agent.learn(96, log_interval=1)
    assert [row["time/iterations"] for row in log.rows] == [1, 2, 3]
    assert ["train/value_loss" in row for row in log.rows] == [False, True, True]
    assert all("rollout/ep_rew_mean" in row for row in log.rows)


class Explodes(Follow):
    """Its reward is NaN or infinite."""

    value = math.nan

    def step(self, action: np.ndarray) -> Any:
        observation, _, *rest = super().step(action)
        return observation, self.value, *rest


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("critic", ["ann", "spiking"])
@pytest.mark.parametrize("batch_size", [32, 8])
def test_a_loss_that_is_not_finite_stops_training(value, critic, batch_size, monkeypatch):
    monkeypatch.setattr(Explodes, "value", value)
    agent = small_ppo(
        Explodes(), n_epochs=1, batch_size=batch_size, policy_kwargs=dict(critic=critic)
    )
    with pytest.raises(NonFiniteError, match=r" is not finite at step 32$"):
        agent.learn(64)


def test_a_parameter_that_is_not_finite_stops_training():
    agent = small_ppo(learning_rate=math.inf, n_epochs=1, batch_size=32)
    with pytest.raises(NonFiniteError, match=r"^log_std is not finite at step 32$"):
        agent.learn(64)


class NoReward(Explodes):
    value = 0.0


def test_returns_that_are_all_the_same_are_no_failure():
    agent = small_ppo(NoReward(), gamma=0.0)
    log = Record()
    agent.set_logger(log)
    agent.learn(32, log_interval=None)
    agent.dump_logs()
    assert math.isfinite(log.rows[0]["train/loss"])
    assert "train/explained_variance" not in log.rows[0]


# What does not fit


def test_policy_keywords_are_left_as_they_were():
    given = dict(
        net_arch=dict(pi=[16, 12], vf=[8]),
        kernel="naive",
        bn=dict(name="carebn", eps=1e-3),
        critic=dict(name="spiking", bn=dict(name="vanilla")),
        optimizer_kwargs=dict(eps=1e-7),
    )
    before = deepcopy(given)
    for _ in range(2):
        agent = PPO("SpikingPolicy", Follow(), policy_kwargs=given, device="cpu")
        assert given == before
        assert agent.parts()["actor"].norm.settings()["eps"] == 1e-3
        assert agent.policy.optimizer.defaults["eps"] == 1e-7
    given["bn"]["eps"] = 0.1
    assert agent.policy_kwargs["bn"]["eps"] == 1e-3


@pytest.mark.parametrize(
    ("policy_kwargs", "message"),
    [
        (dict(neurn="lif"), r"^policy_kwargs=neurn: expected one of .*'neuron'\?$"),
        (dict(actor="spking"), r"^actor=spking: .*'spiking'\?$"),
        (dict(critic=dict(name="spiking", tme_steps=3)), r"^critic parameter=tme_steps: "),
        (dict(net_arch=dict(pi=[8], qf=[8])), r"^net_arch=qf: expected one of pi, vf"),
        (dict(net_arch=dict(pi=[8])), r"^net_arch: has no vf; expected dict"),
        (dict(net_arch=[8, 0]), r"^net_arch=0: expected at least 1$"),
        (dict(conv=CONV, critic="ann"), r"^conv: takes images .*shape \(2,\)$"),
    ],
)
def test_a_policy_keyword_that_does_not_fit_is_refused(policy_kwargs, message):
    with pytest.raises(UserError, match=message):
        small_ppo(policy_kwargs=policy_kwargs)


def test_state_dependent_exploration_is_refused():
    with pytest.raises(UserError, match=r"^use_sde=True: .*expected False$"):
        small_ppo(use_sde=True)
    assert small_ppo(policy="AnnPolicy", use_sde=True).policy.use_sde


@pytest.mark.parametrize("space", [gym.spaces.MultiDiscrete([2, 2]), gym.spaces.MultiBinary(2)])
def test_other_actions_are_refused(space):
    env = Follow()
    env.action_space = space
    with pytest.raises(UserError, match=f"Box or Discrete, not {type(space).__name__}$"):
        small_ppo(env)


class Bytes(gym.ObservationWrapper):
    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return (127 * (observation + 1)).astype(np.uint8)


def test_normalised_bytes_are_refused_as_the_buffer_would_round_them():
    env = DummyVecEnv([lambda: Bytes(Follow())])
    with pytest.raises(UserError, match=r"^VecNormalize: .*uint8 .*; expected norm_obs=False"):
        small_ppo(VecNormalize(env))
    small_ppo(VecNormalize(env, norm_obs=False)).learn(32)


def test_images_are_not_flattened_on_their_way_to_convolutions():
    agent = small_ppo(MatchImage(), policy_kwargs=dict(conv=CONV, encoder="direct"))
    assert isinstance(agent.policy.features_extractor, UnflattenedExtractor)
