"""Spiking networks that are saved by themselves come back, and act as they did."""

import pytest
import torch

from snnrl.agents import DDPG, PPO
from snnrl.agents.policies.critics import LateActionCritic
from snnrl.agents.policies.part import SpikingModel
from snnrl.errors import UserError
from tests.agents.helpers import assert_equal_states, small
from tests.envs import Follow

CASES = [
    (variant, name)
    for variant, names in {
        "td3-spiking": ("actor", "critic", "actor_target"),
        "ddpg-spiking": ("actor", "critic"),
        "sac-spiking": ("actor", "critic"),
        "dqn": ("q_net", "q_net_target"),
    }.items()
    for name in names
]
GIVEN = [
    dict(bn="vanilla", neuron=dict(name="clif", decay=0.6), surrogate="tanh", time_steps=2),
    dict(bn=dict(name="carebn", smoothing=0.7), encoder="direct", readout="linear"),
    dict(bn="none", neuron="dn", kernel="auto"),
    dict(readout=dict(name="membrane", value="max", decay=0.8), lateral="intra"),
]


def inputs(part):
    generator = torch.Generator().manual_seed(0)
    rows = [torch.rand(6, *part.observation_space.shape, generator=generator)]
    if hasattr(part, "q1_forward"):
        rows.append(torch.rand(6, *part.action_space.shape, generator=generator))
    return rows


def values(part):
    part.set_training_mode(False)
    with torch.no_grad():
        found = part(*inputs(part))
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize(("variant", "name"), CASES)
def test_a_part_comes_back(variant, name, given, tmp_path):
    agent = small(variant, policy_kwargs=given).learn(40)
    part = getattr(agent, name)
    assert isinstance(part, SpikingModel)
    part.save(tmp_path / "part")
    loaded = type(part).load(tmp_path / "part", device="cpu")
    assert_equal_states(part, loaded)
    assert not loaded.training
    expected = values(part)
    assert all(map(torch.equal, values(loaded), expected))
    assert any(value.std() > 0 for value in expected)
    if hasattr(loaded, "predict"):
        observation = inputs(part)[0].numpy()
        assert loaded.predict(observation)[0].shape == part.predict(observation)[0].shape
    loaded.set_training_mode(True)
    with pytest.raises(UserError, match="trains in"):
        loaded(*inputs(loaded))


def test_the_critic_of_ddpg_comes_back(tmp_path):
    agent = DDPG(
        "AnnPolicy", Follow(), device="cpu", policy_kwargs=dict(activation_fn=torch.nn.Tanh)
    )
    agent.critic.save(tmp_path / "critic")
    loaded = LateActionCritic.load(tmp_path / "critic", device="cpu")
    assert all(map(torch.equal, values(loaded), values(agent.critic)))


def test_the_policy_of_ppo_comes_back(tmp_path):
    kwargs = dict(net_arch=[8], kernel="naive", critic="spiking", bn="vanilla")
    agent = PPO(
        "SpikingPolicy", Follow(), n_steps=16, batch_size=8, policy_kwargs=kwargs, device="cpu"
    )
    agent.learn(32)
    agent.policy.save(tmp_path / "policy")
    loaded = type(agent.policy).load(tmp_path / "policy", device="cpu")
    assert_equal_states(agent.policy, loaded)
    observations = inputs(agent.policy)[0].numpy()
    expected = agent.policy.predict(observations, deterministic=True)[0]
    assert (loaded.predict(observations, deterministic=True)[0] == expected).all()
