"""``algo.common_mode`` in configurations."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnrl.experiment.config.check_settings import check_settings
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.reproduction.remake import Recorded, remake
from tests.experiment.helpers import train

COMMON = ["algo=dqn", "algo.common_mode=true"]


def test_the_hash_of_earlier_runs_stays_and_its_record_gives_it_again():
    cfg, common = compose_config(COMMON[:1]), compose_config(COMMON)
    earlier = OmegaConf.to_container(cfg)
    del earlier["algo"]["common_mode"]
    assert settings_hash(OmegaConf.create(earlier)) == settings_hash(cfg) != settings_hash(common)
    assert label(common).endswith("-algo.common_mode=True")
    check_settings(common)
    recorded = Recorded(Path("folder"), OmegaConf.to_container(common), "", [{}])
    assert settings_hash(remake(recorded, Path("results"))[0]) == settings_hash(common)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([*COMMON, "actor=ann"], "algo.common_mode=true: corrects spiking values, and actor=ann"),
        (["algo=td3", COMMON[1]], "algo.common_mode.*algo=dqn"),
        (["algo=dqn", "algo.common_mode=maybe"], "algo.common_mode=maybe: expected true or false"),
    ],
)
def test_what_does_not_fit_is_refused(given, message, tmp_path, capsys):
    assert train(tmp_path, "env=cartpole", *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("images", [False, True])
def test_a_run(images, tmp_path):
    if images:
        pytest.importorskip("minatar")
    env = ["env=minatar/breakout", "conv.channels=[2]"] if images else ["env=cartpole"]
    assert train(tmp_path, *COMMON, *env, "total_steps=60", "evaluation.episodes=1") == 0
