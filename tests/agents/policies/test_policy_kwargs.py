"""``policy_kwargs`` are the user's: nothing writes into them or shares them between agents."""

from copy import deepcopy

import pytest

from snnrl.agents import DDPG, DQN, PPO, SAC, TD3
from snnrl.errors import UserError
from tests.envs import Follow, Match

ALGORITHMS = [TD3, DDPG, SAC, DQN, PPO]
SMALL = dict(net_arch=[8], kernel="naive", bn=dict(name="carebn", eps=1e-3))


def env_of(algorithm):
    return Match() if algorithm is DQN else Follow()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_they_are_left_as_they_were(algorithm):
    given = dict(SMALL, optimizer_kwargs=dict(eps=1e-7), features_extractor_kwargs={})
    before = deepcopy(given)
    agent = algorithm("SpikingPolicy", env_of(algorithm), policy_kwargs=given, device="cpu")
    assert given == before
    agent.policy_kwargs["bn"]["eps"] = 0.1
    assert given == before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("policy", ["MlpPolicy", "AnnPolicy"])
def test_of_ordinary_policies_too(algorithm, policy):
    given = dict(net_arch=[8])
    algorithm(policy, env_of(algorithm), policy_kwargs=given, device="cpu")
    assert given == dict(net_arch=[8])


def test_with_gsde_and_by_position():
    given = dict(net_arch=[8])
    agent = SAC("MlpPolicy", Follow(), policy_kwargs=given, use_sde=True, device="cpu")
    assert agent.policy_kwargs["use_sde"] and given == dict(net_arch=[8])
    TD3("SpikingPolicy", Follow(), policy_kwargs=SMALL, device="cpu")
    SAC("SpikingPolicy", Follow(), policy_kwargs=SMALL, device="cpu")
    assert SMALL.keys() == {"net_arch", "kernel", "bn"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_those_of_a_load_too(algorithm, tmp_path):
    agent = algorithm("SpikingPolicy", env_of(algorithm), policy_kwargs=SMALL, device="cpu")
    agent.save(tmp_path / "agent")
    given = deepcopy(agent.policy_kwargs)
    before = deepcopy(given)
    loaded = algorithm.load(tmp_path / "agent", device="cpu", policy_kwargs=given)
    loaded.policy_kwargs["net_arch"].append(9)
    assert given == before


OLD = [dict(pi=[8], vf=[8])]


@pytest.mark.parametrize(
    ("algorithm", "net_arch", "expected"),
    [
        (
            PPO,
            OLD,
            r"^net_arch=\[\{.*expected numbers of neurons, or dict\(pi=\[...\], vf=\[...\]\)$",
        ),
        (PPO, [64, dict(pi=[8], vf=[8])], r"^net_arch=\[64, .*vf=\[...\]\)$"),
        (PPO, dict(pi=[8], vf=[dict(x=1)]), r"^net_arch=\{.*expected numbers"),
        (PPO, dict(pi=8, vf=[8]), r"^net_arch=\{.*expected numbers"),
        (PPO, [8.5], r"^net_arch=\[8\.5\]: expected numbers"),
        (PPO, [True], r"^net_arch=\[True\]: expected numbers"),
        (PPO, "64", r"^net_arch=64: expected numbers"),
        (PPO, 64, r"^net_arch=64: expected numbers"),
        (PPO, dict(pi=[8], qf=[8]), r"^net_arch=qf: expected one of pi, vf"),
        (TD3, [dict(pi=[8], qf=[8])], r"^net_arch=\[\{.*dict\(pi=\[...\], qf=\[...\]\)$"),
        (DDPG, [dict(pi=[8], qf=[8])], r"^net_arch=\[\{.*dict\(pi=\[...\], qf=\[...\]\)$"),
        (SAC, dict(pi=[8]), r"^net_arch: has no qf; expected dict\(pi=\[...\], qf=\[...\]\)$"),
        (SAC, dict(pi=[8], vf=[8]), r"^net_arch=vf: expected one of pi, qf"),
        (DQN, dict(pi=[8]), r"^net_arch=\{.*expected numbers of neurons$"),
        (DQN, [[8, 8]], r"^net_arch=\[\[8, 8\]\]: expected numbers of neurons$"),
    ],
)
def test_layers_that_are_no_numbers_are_refused(algorithm, net_arch, expected):
    kwargs = dict(net_arch=net_arch, kernel="naive")
    with pytest.raises(UserError, match=expected) as refusal:
        algorithm("SpikingPolicy", env_of(algorithm), policy_kwargs=kwargs, device="cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_tuple_of_numbers_is_as_good_as_a_list(algorithm):
    kwargs = dict(net_arch=(8, 6), kernel="naive")
    algorithm("SpikingPolicy", env_of(algorithm), policy_kwargs=kwargs, device="cpu")
