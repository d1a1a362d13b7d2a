"""``target=`` in configurations."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnrl.agents import AGENTS
from snnrl.agents.policies.proxy import PUBLISHED, proxy_settings
from snnrl.experiment.builder import policy_arguments
from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.nodes import CLASSIFY
from snnrl.experiment.reproduction.remake import Recorded, remake
from tests.experiment.helpers import train

PROXY = ["target=proxy"]
WITH_ACTOR = [name for name, agent in AGENTS.items() if "proxy" in agent.targets]


def test_the_algorithms_that_have_it():
    assert WITH_ACTOR == ["td3", "ddpg", "sac"]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("algo", AGENTS)
def test_the_hash_of_earlier_runs_stays(algo):
    cfg = compose_config([f"algo={algo}"])
    earlier = OmegaConf.to_container(cfg)
    del earlier["target"]
    assert settings_hash(OmegaConf.create(earlier)) == settings_hash(cfg)
    assert policy_arguments(cfg).get("target") is None


def test_each_setting_changes_the_hash_and_the_label_tells():
    runs = [[], PROXY, *([*PROXY, f"target.{given}"] for given in ("updates=1", "hidden=[8]"))]
    found = [compose_config(run) for run in runs]
    assert len({settings_hash(cfg) for cfg in found}) == len(runs)
    assert [label(cfg).partition("-carebn")[2] for cfg in found] == [
        "",
        "-proxy",
        "-proxy-target.updates=1",
        "-proxy-target.hidden=8",
    ]
    assert label(compose_config([*PROXY, "neuron=clif"])).endswith("clif-carebn-proxy")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("neuron", [None, *choices("neuron")])
def test_published_settings_by_neuron(neuron):
    chosen = ["actor=ann"] if neuron is None else [f"neuron={neuron}"]
    target = compose_config([*PROXY, *chosen]).target
    expected = {
        "clif": (3e-3, [800, 600]),
        "dn": (3e-3, [512, 512]),
        "dn_mdcsan": (3e-3, [512] * 2),
    }
    assert (target.learning_rate, target.hidden) == expected.get(neuron, (1e-3, [512, 512]))
    assert target.updates == 3
    # From Python they are the same.
    settings = proxy_settings("proxy", neuron)
    assert OmegaConf.to_container(target) == {"name": "proxy", **settings._asdict()}
    assert proxy_settings(OmegaConf.to_container(target), "lif") == settings


def test_every_neuron_with_published_settings_is_one():
    assert set(PUBLISHED) <= set(choices("neuron"))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("actor", choices("actor"))
@pytest.mark.parametrize("algo", WITH_ACTOR)
def test_it_fits_and_its_record_gives_it_again(algo, actor):
    cfg = compose_config([f"algo={algo}", f"actor={actor}", "neuron=clif", *PROXY])
    check_settings(cfg)
    recorded = Recorded(Path("folder"), OmegaConf.to_container(cfg), "", [{}])
    assert settings_hash(remake(recorded, Path("results"))[0]) == settings_hash(cfg)
    given = policy_arguments(cfg)["target"]
    assert given == OmegaConf.to_container(cfg.target)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["algo=dqn"], r"target=proxy: does not fit algo=dqn, .*target=soft, or algo=td3 or"),
        (["algo=ppo"], r"target=proxy: does not fit algo=ppo, .*target=soft, or algo=td3 or"),
        (["algo.target_networks=false"], "target=proxy: is a target network, and algo.target_"),
        (["bn.target_stats=hard"], "bn.target_stats=hard: has no effect with target=proxy"),
        (["target.updates=0"], "target.updates=0: expected at least 1"),
        (["target.learning_rate=0"], "target.learning_rate=0.0: expected more than 0"),
        (["target.learning_rate=nan"], "target.learning_rate=nan: expected a finite number"),
        (["target.hidden=[]"], r"target.hidden=\[\]: expected at least one number"),
        (["target.hidden=[8,0]"], "target.hidden=0: expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(given, message, tmp_path, capsys):
    assert train(tmp_path, *given, *PROXY) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f" {message}", line), line
    assert not list(tmp_path.iterdir())


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("target=prox", "target=prox: expected one of proxy, soft; did you mean 'proxy'"),
        ("target.updates=3", "target.updates"),
        ("target.k=3", r"target.k: no such setting; did you mean 'target.updates'"),
        ("proxy_lr=3", r"proxy_lr: no such setting; did you mean 'target.learning_rate'"),
    ],
)
def test_a_setting_or_choice_that_does_not_exist(given, message, tmp_path, capsys):
    assert train(tmp_path, given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_classifier_has_no_choice_of_it():
    assert compose_config([], CLASSIFY).target.name == "soft"
    assert "target" not in CLASSIFY.groups()
