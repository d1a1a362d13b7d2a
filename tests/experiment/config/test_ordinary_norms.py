"""Normalisations of ordinary networks in configurations: hashes, labels, records."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from snnrl.experiment.builder import policy_arguments
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.reproduction.remake import Recorded, remake

WITHOUT = {
    "actor=ann": "ba7791e2",
    "algo=dqn actor=ann": "000a18bb",
    "algo=ddpg": "d1b2d227",
    "actor=ann critic=spiking": "1b4f7393",
    "critic=spiking bn@critic.bn=none": "8c364d4e",
}
"""Settings that could be run before, and their hashes then."""

WITH = [
    "actor=ann bn=vanilla",
    "actor=ann bn=carebn",
    "actor=ann bn=renorm bn@critic.bn=renorm",
    "actor=ann bn@critic.bn=renorm",
    "actor=ann bn@critic.bn=renorm critic.bn.momentum=0.5",
    "bn@critic.bn=layernorm",
    "algo=ddpg bn@critic.bn=layernorm",
    "algo=dqn actor=ann bn=carebn",
    "algo=ppo actor=ann bn=carebn bn@critic.bn=carebn",
    "actor=ann bn=carebn critic=spiking",
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("settings", WITHOUT)
def test_without_it_the_hash_is_that_of_earlier_runs(settings):
    cfg = compose_config(settings.split())
    assert settings_hash(cfg) == WITHOUT[settings]
    if cfg.critic.name.startswith("ann"):
        explicit = compose_config([*settings.split(), "bn@critic.bn=none"])
        assert settings_hash(explicit) == WITHOUT[settings]
        assert label(explicit) == label(cfg)
        earlier = OmegaConf.to_container(cfg)
        del earlier["critic"]["bn"]
        assert settings_hash(OmegaConf.create(earlier)) == WITHOUT[settings]


@pytest.mark.slow
def test_with_it_every_setting_has_its_own():
    found = [compose_config(settings.split()) for settings in [*WITH, *WITHOUT]]
    assert len({settings_hash(cfg) for cfg in found}) == len(found)
    assert len({label(cfg) for cfg in found}) == len(found)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("settings", ["actor=ann", *WITH])
def test_a_record_gives_the_setting_again(settings):
    cfg = compose_config(settings.split())
    recorded = Recorded(Path("folder"), OmegaConf.to_container(cfg), "", [{}])
    again, overrides = remake(recorded, Path("results"))
    assert settings_hash(again) == settings_hash(cfg)
    assert not any(text.startswith("critic.bn=") for text in overrides)
    arguments = [policy_arguments(each) for each in (cfg, again)]
    assert arguments[0] == arguments[1]
