"""What an agent says of its algorithm is so, and nobody else decides by the algorithm's name."""

import ast
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

import snnrl
from snnrl.agents import AGENTS
from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.compose import compose_config
from tests.envs import Follow, Match, MatchImage

from .ppo_helpers import CONV


class FollowImage(Follow):
    """Shows pixels, and rewards as :class:`Follow` does."""

    def __init__(self):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, (1, 8, 8), np.uint8)


SMALL = dict(net_arch=[4], kernel="naive", time_steps=2, population=2)
ENVS = {"Box": (Follow, FollowImage), "Discrete": (Match, MatchImage)}


def build(algo, env=None, **changes):
    agent = AGENTS[algo]
    env = env or ENVS[agent.action_spaces[0].__name__][0]
    few = dict(n_steps=8, batch_size=4) if agent.experience == "rollout" else dict(buffer_size=8)
    return agent("SpikingPolicy", env(), policy_kwargs=SMALL | changes, device="cpu", **few)


def shapes(agent):
    return {name: value.shape for name, value in agent.policy.state_dict().items()}


@pytest.mark.parametrize("kind", ENVS)
@pytest.mark.parametrize("algo", AGENTS)
def test_actions_that_it_can_choose(algo, kind):
    if kind in {space.__name__ for space in AGENTS[algo].action_spaces}:
        build(algo, ENVS[kind][0])
    else:
        # Stable-Baselines3's own.
        with pytest.raises(AssertionError, match="only supports"):
            build(algo, ENVS[kind][0])


@pytest.mark.parametrize("algo", AGENTS)
def test_images(algo):
    agent = AGENTS[algo]
    env = ENVS[agent.action_spaces[0].__name__][1]
    if agent.reads_images:
        build(algo, env, conv=CONV, encoder="direct")
    else:
        with pytest.raises(UserError, match="conv"):
            build(algo, env, conv=CONV, encoder="direct")


@pytest.mark.parametrize("algo", AGENTS)
def test_the_usual_readout(algo):
    usual = AGENTS[algo].usual_readout
    (other,) = {"population", "linear"} - {usual}
    assert shapes(build(algo)) == shapes(build(algo, readout=usual))
    assert shapes(build(algo)) != shapes(build(algo, readout=other))


@pytest.mark.parametrize("algo", AGENTS)
def test_the_key_of_the_critics_layers(algo):
    key = AGENTS[algo].critic_key
    for other in {"qf", "vf"} - {key}:
        with pytest.raises(UserError, match="net_arch"):
            build(algo, net_arch={"pi": [4], other: [4]})
    if key is not None:
        build(algo, net_arch={"pi": [4], key: [4]})


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", AGENTS)
def test_the_usual_critic_is_the_configured_one(algo):
    agent = AGENTS[algo]
    assert set(agent.critics) <= set(choices("critic"))
    assert compose_config([f"algo={algo}"]).critic.name == agent.critics[0]


def test_every_configured_algorithm_is_an_agent():
    assert sorted(AGENTS) == choices("algo")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("algo", AGENTS)
def test_settings_without_effect_are_a_normalisations(algo):
    known = {key for bn in choices("bn") for key in compose_config([f"bn={bn}"]).bn}
    assert set(AGENTS[algo].without_effect) <= known


def compared_names(path):
    """Names of algorithms that a file compares something with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant)]
            yield from (n.value for n in constants if n.value in AGENTS)


def test_nobody_decides_by_the_name():
    files = list(Path(snnrl.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert {path.name: found for path in files if (found := list(compared_names(path)))} == {}


@pytest.mark.parametrize("line", ['x == "ppo"', 'cfg.algo.name in ("td3", "ddpg")', '"dqn" != x'])
def test_a_decision_by_the_name_is_found(line, tmp_path):
    file = tmp_path / "file.py"
    file.write_text(f"if {line}:\n    pass\n")
    assert list(compared_names(file))
