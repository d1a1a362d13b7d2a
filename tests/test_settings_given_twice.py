"""One setting with two values on one command line: refused, however it is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.overrides import check_overrides
from snnrl.train import main
from tests.experiment.helpers import arguments, folder_of

TWICE = [
    ("seed=0", "seed=1"),
    ("seed=0", "+seed=1"),
    ("++seed=0", "seed=1"),
    ("seed=0", "++seed=1"),
    ("seed=0,1", "seed=2"),
    ("seed=0,1", "seed=range(3)"),
    ("total_steps=1e3", "total_steps=2000"),
    ("algo.learning_rate=1e-3", "algo.learning_rate=3e-4"),
    ("actor.hidden=[8]", "actor.hidden=[8,8]"),
    ("bn=carebn", "bn=vanilla"),
    ("env=hopper", "env=ant,hopper"),
    ("bn@critic.bn=none", "bn@critic.bn=vanilla"),
    ("experiment=carebn/td3", "experiment=carebn/ddpg"),
    ("hydra/launcher=basic", "hydra/launcher=joblib"),
    ("hydra.sweep.dir=a", "hydra.sweep.dir=b"),
]


@pytest.mark.parametrize("twice", TWICE)
def test_two_values_are_refused(twice: tuple[str, str]) -> None:
    with pytest.raises(UserError) as refusal:
        check_overrides([twice[0], "threads=2", twice[1]])
    message = str(refusal.value)
    assert "two values for one setting" in message
    assert "total_steps=1000 and" in message or f"{twice[0]} and {twice[1]}:" in message


def test_the_same_value_twice_is_one() -> None:
    given = ["seed=0,1", "total_steps=1e3", "seed=0,1", "total_steps=1000"]
    assert check_overrides(given) == ["seed=0,1", "total_steps=1000"]


def test_other_settings_of_a_choice_are_not_its_second_value() -> None:
    given = ["bn=vanilla", "critic=spiking", "bn@critic.bn=carebn", "bn.momentum=0.2"]
    given += ["critic.bn.smoothing=0.7", "neuron=lif", "neuron.decay=0.5"]
    assert check_overrides(given) == given


@pytest.mark.parametrize("multirun", [[], ["-m"]])
@pytest.mark.parametrize("twice", [("seed=0", "seed=1"), ("bn=none", "bn=vanilla")])
def test_the_command_refuses_before_it_leaves_anything(
    twice: tuple[str, str], multirun: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [text for text in arguments(tmp_path / "runs") if "bn" not in text]
    assert main([*multirun, *given, *twice]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {twice[0]} and {twice[1]}: two values for one setting")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_hydra_would_sweep_unseen_is_refused() -> None:
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.params\.seed=.*expected key=a,b"):
        check_overrides(["+hydra.sweeper.params.seed='0,1'", "seed=2"])
    with pytest.raises(UserError, match=r"^hydra\.sweeper\.params="):
        check_overrides(["hydra.sweeper.params={seed: '0,1'}"])


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize(
    "given", [["experiment=quickstart", "GIVEN"], ["GIVEN", "experiment=quickstart"]]
)
@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("total_steps=7", "total_steps", 7),
        ("algo.batch_size=9", "algo.batch_size", 9),
        ("actor.hidden=[5]", "actor.hidden", [5]),
        ("env=pendulum", "env.id", "Pendulum-v1"),
        ("bn=vanilla", "bn.name", "vanilla"),
    ],
)
def test_the_command_line_wins_over_an_experiment(
    given: list[str], override: str, key: str, value: object
) -> None:
    overrides = check_overrides([override if text == "GIVEN" else text for text in given])
    cfg = compose_config(overrides)
    for part in key.split("."):
        cfg = cfg[part]
    assert cfg == value


def test_a_seed_is_not_tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[1] / "scripts" / "tune.py"
    spec = importlib.util.spec_from_file_location("tune", file)
    assert spec is not None and spec.loader is not None
    tune = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tune)
    given = ["seed=5", "bn=carebn,vanilla", f"results_dir={tmp_path / 'runs'}"]
    assert tune.main(given) == 2
    assert capsys.readouterr().err.startswith("error: seed=5: expected --seeds")
    assert not (tmp_path / "runs").exists()


def test_a_recorded_command_line_with_two_values_means_what_it_meant(tmp_path: Path) -> None:
    twice = [*arguments(tmp_path), "seed=0", "seed=1"]
    assert compose_config(twice).seed == 1
    assert folder_of(tmp_path, "seed=1").path.name == "seed-1"
