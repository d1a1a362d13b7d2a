"""Settings that change nothing are named, and accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.no_effect import without_effect
from tests.experiment.helpers import train

NOTHING_SPIKES = "has no effect, as nothing spikes with actor=ann"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("actor=ann bn=none encoder=latency", [f"encoder=latency: {NOTHING_SPIKES}"]),
        (
            "actor=ann bn=none neuron=clif neuron.threshold=1 surrogate.scale=2",
            [f"{key}: {NOTHING_SPIKES}" for key in ("neuron=clif", "neuron.threshold=1")]
            + [f"surrogate.scale=2: {NOTHING_SPIKES}"],
        ),
        ("actor=ann bn=none critic=spiking neuron=clif", []),
        ("neuron=clif encoder=latency", []),
        ("actor=ann bn=none experiment=carebn/td3", []),
        ("algo=ppo", []),
        (
            "algo.buffer_size=10",
            [
                "algo.buffer_size=10: fewer transitions than a minibatch has, "
                "algo.batch_size=256, so every minibatch repeats some"
            ],
        ),
    ],
)
def test_what_has_no_effect(given: str, said: list[str]) -> None:
    overrides = given.split()
    assert list(without_effect(compose_config(overrides), overrides)) == said


def test_a_run_says_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["total_steps=30", "evaluation.episodes=1", "tracking=none", "env=pendulum"]
    assert train(tmp_path, "actor=ann", "bn=none", "neuron=clif", *short) == 0
    assert capsys.readouterr().err.count(f"neuron=clif: {NOTHING_SPIKES}") == 1
