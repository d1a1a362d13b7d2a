"""``load(path, kernel=...)``: what computes a saved agent is decided where it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3
from snnrl.errors import UserError
from snnrl.ops import backend
from tests.envs import Follow, Match

ALGORITHMS = [TD3, DDPG, SAC, DQN, PPO]


def saved(algorithm: Any, tmp_path: Path, policy: str = "SpikingPolicy", **kwargs: Any) -> Path:
    env = Match() if algorithm is DQN else Follow()
    agent = algorithm(policy, env, policy_kwargs=dict(net_arch=[8], **kwargs), device="cpu")
    agent.save(tmp_path / "agent")
    return tmp_path / "agent"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_kernel_is_taken_and_acts_alike(algorithm: Any, tmp_path: Path) -> None:
    path = saved(algorithm, tmp_path, kernel="naive")
    naive = algorithm.load(path, device="cpu")
    native = algorithm.load(path, device="cpu", kernel="native")
    assert (naive.kernel, native.kernel) == ("naive", "native")
    assert native.policy_kwargs["kernel"] == "native"
    observation = np.full(naive.observation_space.shape, 0.3, np.float32)
    ours, theirs = (a.predict(observation, deterministic=True)[0] for a in (native, naive))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_every_network_has_it(tmp_path: Path) -> None:
    path = saved(TD3, tmp_path, critic="spiking")
    agent = TD3.load(path, None, "cpu", kernel="naive")
    parts = [agent.actor.network, *agent.critic.networks, agent.actor_target.network]
    assert {network.kernel for network in parts} == {"naive"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_auto_is_decided_again(
    algorithm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(algorithm, tmp_path)
    assert algorithm.load(path, device="cpu").kernel == "native"
    monkeypatch.setattr(backend, "compiler", lambda: None)
    assert algorithm.load(path, device="cpu").kernel == "naive"
    with pytest.raises(UserError, match="kernel=native: needs a C\\+\\+ compiler"):
        algorithm.load(path, device="cpu", kernel="native")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(kernel="nativ"), r"^kernel=nativ: .*'native'\?$"),
        (dict(kernle="native"), r"^load=kernle: no such argument; did you mean 'kernel'\?$"),
        (dict(buffersize=3), r"^load=buffersize: .*did you mean 'buffer_size'\?$"),
        (dict(custom_objects=dict(kernel="native")), r"^custom_objects: .*load\(path, kernel="),
        (dict(policy_kwargs=dict(kernel="native")), r"^policy_kwargs: .*load\(path, kernel="),
    ],
)
def test_nothing_is_passed_over_without_a_word(
    wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved(TD3, tmp_path)
    with pytest.raises(UserError, match=message) as refusal:
        TD3.load(path, device="cpu", **wrong)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("policy", ["AnnPolicy", "MlpPolicy"])
def test_an_ordinary_agent_has_no_kernel(policy: str, tmp_path: Path) -> None:
    path = saved(TD3, tmp_path, policy)
    assert TD3.load(path, device="cpu").kernel == "naive"
    with pytest.raises(UserError, match=r"^kernel=naive: .* no spiking network"):
        TD3.load(path, device="cpu", kernel="naive")


def test_arguments_of_the_algorithm_are_taken(tmp_path: Path) -> None:
    path = saved(TD3, tmp_path)
    agent = TD3.load(path, device="cpu", learning_rate=0.5, buffer_size=7, verbose=0, seed=3)
    assert (agent.learning_rate, agent.buffer_size, agent.seed) == (0.5, 7, 3)
    with_object = TD3.load(path, custom_objects=dict(buffer_size=9, clip_range=0.1), device="cpu")
    assert with_object.buffer_size == 9


def test_custom_policy_kwargs_of_a_kernel(tmp_path: Path) -> None:
    path = saved(TD3, tmp_path)
    given = dict(net_arch=[8], kernel="naive")
    agent = TD3.load(path, device="cpu", custom_objects=dict(policy_kwargs=given))
    assert agent.kernel == "naive"
    weights = agent.policy.state_dict()
    again = TD3.load(path, device="cpu").policy.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
