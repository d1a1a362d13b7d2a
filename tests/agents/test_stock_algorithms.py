"""Our policies in algorithms that are not ours: spiking ones are refused, ordinary ones learn what
Stable-Baselines3's learn."""

from copy import deepcopy

import pytest
import stable_baselines3
import torch
from stable_baselines3.common.policies import BasePolicy

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3, ddpg, dqn, sac, td3
from snnrl.agents.policies import on_policy
from snnrl.errors import UserError
from tests.envs import Follow, Match

SMALL = dict(net_arch=[8, 8], kernel="naive", time_steps=3)
REPLAY = dict(learning_starts=5, batch_size=4, buffer_size=50)
ROLLOUT = dict(n_steps=16)

STOCK = {
    "TD3": (stable_baselines3.TD3, td3, Follow, REPLAY, "TD3 or DDPG"),
    "DDPG": (stable_baselines3.DDPG, ddpg, Follow, REPLAY, "TD3 or DDPG"),
    "TD3 with the policy of DDPG": (stable_baselines3.TD3, ddpg, Follow, REPLAY, "TD3 or DDPG"),
    "SAC": (stable_baselines3.SAC, sac, Follow, REPLAY, "SAC"),
    "DQN": (stable_baselines3.DQN, dqn, Match, REPLAY, "DQN or Classifier"),
    "PPO": (stable_baselines3.PPO, on_policy, Follow, ROLLOUT | dict(batch_size=8), "PPO"),
    "A2C": (stable_baselines3.A2C, on_policy, Follow, ROLLOUT, "PPO"),
}


def build(name, alias="SpikingPolicy", **changes):
    algorithm, module, env, settings, _ = STOCK[name]
    kwargs = dict(net_arch=[8, 8]) if alias == "AnnPolicy" else SMALL | changes
    if name == "DDPG" and alias == "AnnPolicy":
        kwargs["n_critics"] = 1
    policy = getattr(module, alias)
    return algorithm(policy, env(), seed=0, device="cpu", policy_kwargs=kwargs, **settings)


@pytest.mark.parametrize("name", STOCK)
@pytest.mark.parametrize("bn", ["carebn", "none"])
def test_a_spiking_part_does_not_train_in_a_stock_algorithm(name, bn):
    agent = build(name, bn=bn)
    before = deepcopy(agent.policy.state_dict())
    with pytest.raises(UserError) as refusal:
        agent.learn(40)
    message = str(refusal.value)
    assert f"trains in snnrl.agents.{STOCK[name][-1]} only" in message
    assert "\n" not in message
    after = agent.policy.state_dict()
    # TD3 updates its ordinary critic first.
    spiking = [key for key in before if not key.startswith("critic")]
    assert all(torch.equal(before[key], after[key]) for key in spiking)


@pytest.mark.parametrize("name", ["TD3", "SAC"])
def test_nor_does_a_spiking_critic(name):
    with pytest.raises(UserError, match=r"^SpikingCritic: trains in snnrl.agents.TD3, DDPG or SAC"):
        build(name, actor="ann", critic="spiking").learn(40)


def test_nor_does_a_spiking_critic_of_the_state():
    with pytest.raises(UserError, match=r"^OnPolicyNetwork: trains in snnrl.agents.PPO only"):
        build("PPO", actor="ann", critic="spiking").learn(40)


@pytest.mark.parametrize("name", STOCK)
def test_it_acts_there(name):
    agent = build(name)
    observation = agent.get_env().reset()
    action, _ = agent.predict(observation)
    assert agent.action_space.contains(action[0])


@pytest.mark.parametrize("name", ["TD3", "SAC", "DQN", "PPO"])
def test_a_saved_agent_loaded_by_a_stock_algorithm_does_not_train(name, tmp_path):
    algorithm, _, env, settings, _ = STOCK[name]
    ours = dict(TD3=TD3, SAC=SAC, DQN=DQN, PPO=PPO)[name]
    given = dict(policy_kwargs=SMALL, device="cpu", **settings)
    ours("SpikingPolicy", env(), **given).save(tmp_path / "agent")
    stock = algorithm.load(tmp_path / "agent", env=env(), device="cpu")
    with pytest.raises(UserError, match="only"):
        stock.learn(40)


def test_a_loop_of_ones_own_over_a_policy_without_an_agent_is_refused():
    policy = build("TD3").policy
    policy.set_training_mode(True)
    with pytest.raises(UserError, match=r"^SpikingActor: trains in.*set_training_mode"):
        policy.actor(torch.zeros(4, 2))
    policy.set_training_mode(False)
    assert policy.actor(torch.zeros(4, 2)).requires_grad


@pytest.mark.parametrize("copy", [lambda agent: agent, deepcopy])
@pytest.mark.parametrize("algorithm", [TD3, DDPG])
def test_parts_of_an_agent_train_in_a_loss_of_ones_own(algorithm, copy):
    agent = copy(algorithm("SpikingPolicy", Follow(), policy_kwargs=SMALL, device="cpu"))
    agent.policy.set_training_mode(True)
    agent.actor(torch.rand(4, 2)).sum().backward()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("TD3", "MlpPolicy"), ("SAC", "MlpPolicy"), ("DQN", "MlpPolicy"), ("PPO", "MlpPolicy")],
)
def test_ordinary_policies_learn_there_what_stock_ones_learn(name, theirs):
    ours = build(name, "AnnPolicy").learn(40)
    algorithm, _, env, settings, _ = STOCK[name]
    kwargs = dict(net_arch=[8, 8])
    stock = algorithm(theirs, env(), seed=0, device="cpu", policy_kwargs=kwargs, **settings)
    for (key, a), b in zip(
        ours.policy.state_dict().items(), stock.learn(40).policy.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), key


@pytest.mark.parametrize("name", ["DDPG", "A2C"])
def test_other_ordinary_policies_learn_there(name):
    agent = build(name, "AnnPolicy")
    before = deepcopy(agent.policy.state_dict())
    after = agent.learn(40).policy.state_dict()
    assert isinstance(agent.policy, BasePolicy)
    assert any(not torch.equal(before[key], after[key]) for key in before)
