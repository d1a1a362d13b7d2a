"""``experiment=debug``: short, with everything that a run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snnrl.agents import AGENTS
from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_override
from snnrl.experiment.config.validate import validate
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.train import main
from tests.experiment.helpers import rows_of, steps_in

MORE = [
    ["critic=spiking"],
    ["actor=ann"],
    ["bn=vanilla"],
    ["bn=none", "neuron=clif"],
    ["env=hopper", "env.n_envs=2"],
]


def check(cfg: Any) -> None:
    """Everything is due before the end."""
    validate(cfg)
    assert cfg.total_steps <= 1_000
    for every in (cfg.evaluation.every, cfg.checkpoint.every, cfg.log_every):
        assert every < cfg.total_steps
    if cfg.actor.name == "spiking" and cfg.bn.name == "carebn":
        assert cfg.bn.recalibrate_every in ("auto", *range(cfg.total_steps))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("algo", AGENTS)
def test_it_fits_every_algorithm(algo: str) -> None:
    check(compose_config(["experiment=debug", f"algo={algo}"]))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("more", MORE, ids=" ".join)
def test_it_fits_other_choices(more: list[str]) -> None:
    check(compose_config(["experiment=debug", *more]))


def test_images() -> None:
    pytest.importorskip("minatar")
    check(compose_config(["experiment=debug", "algo=dqn", "env=minatar/breakout"]))


def test_its_parts_are_no_choices() -> None:
    assert not [name for name in choices("experiment") if "_" in name.partition("/")[0][:1]]
    with pytest.raises(UserError, match="expected one of carebn/ddpg, "):
        check_override("experiment=_parts/debug_td3")


@pytest.mark.parametrize("short", [["total_steps=300"], ["algo=ppo", "total_steps=300"]])
def test_a_run_that_is_too_short_names_it(short: list[str]) -> None:
    with pytest.raises(UserError, match=r"or experiment=debug, which is short"):
        validate(compose_config(short))


@pytest.mark.slow
@pytest.mark.parametrize("algo", AGENTS)
def test_everything_happens(algo: str, tmp_path: Path) -> None:
    settings = ["experiment=debug", f"algo={algo}", "tracking=none", f"results_dir={tmp_path}"]
    assert main(settings) == 0
    folder = RunFolder(compose_config(settings))
    names = {path.name for path in folder.path.iterdir()}
    assert {"DONE", "curve.png", "model.zip", "best_model.zip", "checkpoint"} <= names
    assert len(steps_in(folder, "evaluations")) == 3
    assert len(steps_in(folder, "progress")) >= 6
    # A re-calibration leaves rows of before and after.
    assert {row["phase"] for row in rows_of(folder, "statistics_error")} == {"before", "after"}
