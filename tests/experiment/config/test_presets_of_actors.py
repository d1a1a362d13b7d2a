"""Presets of the field's spiking actors, in CaRe-BN's protocol and in their own."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from snnrl.analysis.protocol import PROTOCOL, follows
from snnrl.analysis.published import published_results
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.validate import validate
from snnrl.run_format.config import flatten
from snnrl.run_format.settings import CAME_LATER

ROWS = {
    "popsan/td3_carebn": {"pop-SAN"},
    "mdcsan/td3_carebn": {"MDC-SAN"},
    "ilcsan/td3_carebn": {"ILC-SAN"},
    "proxy/td3_lif": {"PT-LIF"},
    "proxy/td3_clif": {"PT-CLIF"},
    "proxy/td3_dn": {"PT-DN"},
    "carebn/td3": {"CaRe-BN"},
    # Nobody has published it, or in another protocol.
    "carebn/td3_proxy": set(),
    "popsan/td3": set(),
    "popsan/td3_poisson": set(),
    "mdcsan/td3": set(),
    "ilcsan/td3": set(),
}
"""Presets and the published rows that they stand for."""


def settings_of(*overrides: str) -> dict[str, Any]:
    config = compose_config(list(overrides))
    validate(config)
    found: Any = OmegaConf.to_container(config, resolve=True)
    return {**CAME_LATER, **dict(flatten(found))}


def rows_of(settings: dict[str, Any]) -> set[str]:
    """Published rows that a run with these settings stands for."""
    return {
        row.method
        for row in published_results()
        if row.protocol == PROTOCOL
        and row.env == settings["env.id"]
        and follows(settings, row.method, row.neuron, row.env)
    }


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("preset", ROWS)
def test_a_preset_stands_for_its_row(preset: str) -> None:
    assert rows_of(settings_of(f"experiment={preset}", "env=hopper")) == ROWS[preset]


@pytest.mark.slow
def test_the_proxy_of_clif_is_another_on_one_environment() -> None:
    own = ["experiment=proxy/td3_clif", "env=inverted_double_pendulum"]
    assert rows_of(settings_of(*own)) == set()
    assert rows_of(settings_of(*own, "target.hidden=[512,512]")) == {"PT-CLIF"}
    assert rows_of(
        settings_of("experiment=carebn/td3", "actor=ann", "bn=none", "target=proxy")
    ) == {"ANN with a proxy"}


OWN = {
    "algo.learning_rate": 1e-4,
    "algo.critic_learning_rate": 1e-3,
    "algo.tau": 0.005,
    "algo.batch_size": 100,
    "algo.train_freq": 50,
    "algo.gradient_steps": 50,
    "encoder.mean_range": 3.0,
    "encoder.squash": False,
    "bn.name": "none",
    "actor.time_steps": 5,
    "total_steps": 1_000_000,
    "evaluation.every": 10_000,
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("preset", "actor"),
    [
        ("popsan/td3", {"neuron.name": "clif", "encoder.name": "population"}),
        ("popsan/td3_poisson", {"neuron.name": "clif", "encoder.name": "population_poisson"}),
        ("mdcsan/td3", {"neuron.name": "dn_mdcsan", "encoder.name": "population_current"}),
        (
            "ilcsan/td3",
            {
                "neuron.name": "clif",
                "encoder.name": "population",
                "actor.readout": "membrane",
                "actor.lateral": "intra",
            },
        ),
    ],
)
def test_their_own_protocol(preset: str, actor: dict[str, Any]) -> None:
    settings = settings_of(f"experiment={preset}")
    assert {key: settings[key] for key in {**OWN, **actor}} == {**OWN, **actor}
    assert settings["encoder.std"] == pytest.approx(0.15**0.5)


def test_popsan_draws_its_input_spikes_on_two_tasks_and_that_is_all_the_difference() -> None:
    drawn, regular = (settings_of(f"experiment=popsan/{p}", "env=walker2d") for p in OF_POPSAN)
    differ = {key for key in {*drawn, *regular} if drawn.get(key) != regular.get(key)}
    assert differ == {"encoder.name"}
    notes = {row.env: row.note for row in published_results() if row.method == "PopSAN"}
    assert {env for env, note in notes.items() if "random" in note} == {"Hopper-v3", "Walker2d-v3"}
    assert {env for env, note in notes.items() if "regular" in note} == {
        "HalfCheetah-v3",
        "Ant-v3",
    }


OF_POPSAN = ("td3_poisson", "td3")


def test_cmc() -> None:
    settings = settings_of("experiment=cmc/dqn_minatar")
    expected = {
        "algo.name": "dqn",
        "algo.common_mode": True,
        "conv.name": "minatar",
        "env.id": "MinAtar/Breakout-v1",
        "total_steps": 5_000_000,
    }
    assert {key: settings[key] for key in expected} == expected
