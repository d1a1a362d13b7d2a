"""With ordinary networks PPO computes what Stable-Baselines3's does, bit for bit."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from snnrl.agents import PPO
from snnrl.agents.policies.features import ConvExtractor
from tests.envs import Follow, Match, MatchImage

from .helpers import assert_equal_states
from .ppo_helpers import CONV

ENVS = {"box": Follow, "discrete": Match}
UNFUSED = dict(fused=False)
"""Our AnnPolicy has fused Adam, which rounds in another way, unless told otherwise."""

SETTINGS: dict[str, dict[str, Any]] = {
    "an entropy bonus": dict(ent_coef=0.01),
    "clipped values": dict(clip_range_vf=1e-3),
    "clipped values by a schedule": dict(clip_range_vf=lambda remaining: 1e-3 * remaining + 1e-4),
    "a clip range by a schedule": dict(clip_range=lambda remaining: 1e-3 * remaining + 1e-4),
    "advantages as they are": dict(normalize_advantage=False),
    "clipped gradients": dict(max_grad_norm=1e-2),
    "a bound on the divergence": dict(target_kl=2.5e-3, learning_rate=3e-3, n_epochs=5),
    "a learning rate by a schedule": dict(learning_rate=lambda remaining: 1e-3 * remaining),
    "a last minibatch of one": dict(batch_size=31),
    "a weighted value": dict(vf_coef=2.0, gae_lambda=0.8, gamma=0.9),
    "gSDE": dict(use_sde=True, sde_sample_freq=4),
}


def learned(algorithm: Any, policy: str = "MlpPolicy", env: str = "box", **changes: Any) -> Any:
    arguments: dict[str, Any] = dict(n_steps=16, batch_size=8, n_epochs=2, seed=3, device="cpu")
    arguments["policy_kwargs"] = dict(net_arch=[8, 8], optimizer_kwargs=UNFUSED)
    envs = DummyVecEnv([ENVS[env], ENVS[env]])
    return algorithm(policy, envs, **arguments | changes).learn(64, log_interval=1_000)


def assert_equal_agents(ours: Any, stock: Any) -> None:
    """Networks, number of updates, and what is logged of the last one."""
    assert_equal_states(ours.policy, stock.policy)
    assert ours._n_updates == stock._n_updates
    logged, expected = ours.logger.name_to_value, stock.logger.name_to_value
    names = [name for name in expected if name.startswith("train/")]
    assert names
    for name in names:
        np.testing.assert_equal(logged[name], expected[name], err_msg=name)


@pytest.fixture(scope="module")
def usual_weights():
    return learned(PPO).policy.action_net.weight


@pytest.mark.quick_cases(3)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 31")
@pytest.mark.parametrize("settings", SETTINGS)
def test_with(settings, usual_weights):
    changes = SETTINGS[settings]
    ours, stock = (learned(algorithm, **changes) for algorithm in (PPO, stable_baselines3.PPO))
    assert_equal_agents(ours, stock)
    assert not torch.equal(ours.policy.action_net.weight, usual_weights)


def test_a_bound_on_the_divergence_ends_an_update_and_says_so(capsys):
    changes = SETTINGS["a bound on the divergence"] | dict(verbose=1)
    said = []
    for algorithm in (PPO, stable_baselines3.PPO):
        agent = learned(algorithm, **changes)
        assert agent._n_updates < 10
        lines = capsys.readouterr().out.splitlines()
        said.append([line for line in lines if "Early stopping" in line])
    assert said[0] == said[1] != []


@pytest.mark.parametrize("policy", ["MlpPolicy", "AnnPolicy"])
@pytest.mark.parametrize("env", ENVS)
def test_kinds_of_actions(env, policy):
    # 64-64 where nothing is given.
    kwargs = dict(policy_kwargs=dict(optimizer_kwargs=UNFUSED))
    ours = learned(PPO, policy, env, **kwargs)
    assert ours._n_updates == 4
    assert ours.policy.mlp_extractor.policy_net[0].out_features == 64
    assert_equal_agents(ours, learned(stable_baselines3.PPO, env=env, **kwargs))


def test_convolutions():
    def run(algorithm: Any, policy: str, **policy_kwargs: Any) -> Any:
        settings = dict(n_steps=16, batch_size=8, n_epochs=1, seed=3, device="cpu")
        policy_kwargs["optimizer_kwargs"] = UNFUSED
        return algorithm(policy, MatchImage(), policy_kwargs=policy_kwargs, **settings).learn(32)

    ours = run(PPO, "AnnPolicy", conv=CONV)
    extractor = dict(features_extractor_class=ConvExtractor, features_extractor_kwargs=CONV)
    assert_equal_agents(ours, run(stable_baselines3.PPO, "MlpPolicy", **extractor))
