"""Names of run folders: short, and an existing folder of the same settings is used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from snnrl.analysis.run_folders import find_runs
from snnrl.errors import UserError
from snnrl.experiment.config.choice_files import CONFIG_DIR, choices
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.validate import validate
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.run_format.names import OWN_RUNS
from tests.experiment.helpers import folder_of, train

TOP = Path(__file__).parents[3]
LONG = "td3-spiking-lif-carebn-naive-algo.buffer_size=1000"
"""What folders of earlier versions were called."""


def of_earlier_version(results: Path, *changes: str) -> Path:
    """The run folder that an earlier version would have made."""
    folder = folder_of(results, *changes)
    env, _, seed = folder.path.relative_to(results).parts
    return results / env / f"{LONG}-{settings_hash(folder.cfg)}" / seed


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "td3-lif-carebn"),
        (["algo=ddpg", "neuron=clif", "bn=none"], "ddpg-clif-none"),
        (["actor=ann"], "td3-ann-none"),
        (["algo=dqn", "actor=ann", "neuron=dn"], "dqn-ann-none"),
        (["actor=ann", "critic=spiking"], "td3-ann-none"),
        (["surrogate=tanh", "actor.hidden=[64,32]", "algo.gamma=0.123"], "td3-lif-carebn"),
        (["experiment=quickstart", "bn=vanilla"], "td3-lif-vanilla-quickstart"),
        (["experiment=carebn/td3"], "td3-clif-carebn-paper"),
        (["experiment=ppo_mujoco", "actor=ann"], "ppo-ann-none-ppo_mujoco"),
        (["experiment_name=try-2"], "td3-lif-carebn-try-2"),
        (["experiment=quickstart", "experiment_name=mine"], "td3-lif-carebn-mine"),
    ],
)
def test_the_name_is_short(
    overrides: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = compose_config(overrides)
    assert RunFolder(cfg).setting == f"{name}-{settings_hash(cfg)}"
    assert not Path(OWN_RUNS).is_absolute()
    assert RunFolder(cfg).path.parts[:-3] == Path(OWN_RUNS).parts


def test_what_differs_is_in_the_hash_and_in_the_configuration(tmp_path: Path) -> None:
    one, other = [folder_of(tmp_path, f"algo.gamma={gamma}") for gamma in (0.9, 0.8)]
    assert one.setting[:-8] == other.setting[:-8]
    assert one.path != other.path
    one.path.mkdir(parents=True)
    one.begin([], {}, fresh=True)
    first, *rest = (one.path / "config.yaml").read_text().splitlines()
    assert first == f"# {label(one.cfg)}"
    assert "algo.gamma=0.9" in first and "algo.buffer_size=1000" in first
    assert OmegaConf.create("\n".join(rest)) == one.cfg


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_has_a_name_of_its_own(experiment: str) -> None:
    text = (CONFIG_DIR / "experiment" / f"{experiment}.yaml").read_text()
    assert re.search(r"^experiment_name: \w+$", text, re.MULTILINE)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["a/b", "..", "a b", "x" * 41, "'a\nb'", "é" * 41, "-"])
def test_a_name_that_is_none(name: str) -> None:
    cfg = compose_config()
    cfg.experiment_name = name
    with pytest.raises(UserError, match=r"^experiment_name=") as refusal:
        validate(cfg)
    assert "\n" not in str(refusal.value)


def test_the_name_does_not_count() -> None:
    named, plain = compose_config(["experiment_name=mine"]), compose_config()
    assert settings_hash(named) == settings_hash(plain)
    assert label(named) == label(plain)


# A folder that is there already


def test_a_run_says_that_it_uses_a_folder_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("snnrl.experiment.run._train", lambda *_: None)
    monkeypatch.setattr("snnrl.experiment.run._result", lambda *_, **__: None)
    line = "using the existing folder of these settings: "
    assert train(tmp_path, "seed=1") == 0
    assert line not in capsys.readouterr().out
    of_earlier_version(tmp_path).mkdir(parents=True)
    assert train(tmp_path) == 0
    assert f"{line}{of_earlier_version(tmp_path).parent}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_the_folder_of_an_earlier_version_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    earlier = of_earlier_version(tmp_path)
    assert earlier != folder_of(tmp_path).path
    folder_of(tmp_path).path.parent.rename(earlier.parent)
    assert folder_of(tmp_path).path == earlier
    capsys.readouterr()
    assert train(tmp_path) == 0
    assert f"already done (100 steps): {earlier}" in capsys.readouterr().out
    assert train(tmp_path, "total_steps=120") == 0
    out = capsys.readouterr().out
    assert f"using the existing folder of these settings: {earlier.parent}\n" in out
    assert "resuming from step 100" in out
    assert [folder.name for folder in earlier.parents[1].iterdir()] == [earlier.parent.name]


def test_another_seed_joins_the_folder_of_its_setting(tmp_path: Path) -> None:
    of_earlier_version(tmp_path).mkdir(parents=True)
    joined = folder_of(tmp_path, "seed=3").path
    assert joined == of_earlier_version(tmp_path, "seed=3")
    assert folder_of(tmp_path, "algo.gamma=0.9").path.parent != joined.parent


def test_the_name_of_an_experiment_makes_no_second_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, "experiment_name=first").path.mkdir(parents=True)
    first = folder_of(tmp_path, "experiment_name=first").path
    assert first.parent.name.startswith("td3-lif-carebn-first-")
    assert folder_of(tmp_path).path == first
    assert folder_of(tmp_path, "experiment_name=second").path == first


def test_the_seed_is_looked_for_before_the_name(tmp_path: Path) -> None:
    """A setting may have two folders, of which each has its seeds."""
    earlier = of_earlier_version(tmp_path, "seed=1")
    folder_of(tmp_path).path.mkdir(parents=True)
    earlier.mkdir(parents=True)
    assert folder_of(tmp_path).path.parent.name.startswith("td3-lif-carebn-")
    assert folder_of(tmp_path, "seed=1").path == earlier
    assert folder_of(tmp_path, "seed=2").path.parent == folder_of(tmp_path).path.parent


def test_two_folders_of_one_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = folder_of(tmp_path).path
    earlier = of_earlier_version(tmp_path)
    for folder in (new, earlier):
        folder.mkdir(parents=True)
    assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{new} and {earlier}" in line
    assert "two folders of one run" in line


def test_a_folder_that_only_ends_alike_is_another_s(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    digits = settings_hash(folder.cfg)
    beside = folder.path.parents[1]
    (beside / f"notes{digits}").mkdir(parents=True)
    (beside / f"td3-{digits[:-1]}").mkdir()
    (beside / f"a-{digits}").write_text("a file")
    assert folder_of(tmp_path).path == folder.path


def test_a_run_of_the_earlier_default_place_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    earlier = of_earlier_version(Path("results"))
    earlier.mkdir(parents=True)
    assert folder_of(Path(OWN_RUNS)).path == earlier
    assert folder_of(Path("results") / "." / "runs").path == earlier
    # Only the run that is there: its new seeds are where comparisons look for them.
    assert folder_of(Path(OWN_RUNS), "seed=1").path.parts[:2] == Path(OWN_RUNS).parts
    # Whoever names a place means it.
    assert folder_of(Path("elsewhere")).path.parts[0] == "elsewhere"
    assert folder_of(Path("results") / "mine").path.parts[:2] == ("results", "mine")


RECORDED = [
    file
    for file in sorted((TOP / "results").glob("*/*/*-*-*-*/seed-0/config.yaml"))
    if TOP / OWN_RUNS not in file.parents
]


@pytest.mark.quick_cases(15)
@pytest.mark.parametrize("config", RECORDED, ids=lambda path: path.parts[-3][:50])
def test_recorded_runs_are_found_where_they_are(config: Path) -> None:
    """Their scripts, run again, skip them."""
    recorded = OmegaConf.load(config)
    assert isinstance(recorded, DictConfig)
    recorded.results_dir = str(config.parents[3])
    assert RunFolder(recorded).path == config.parent
    assert len(find_runs([config.parent])) == 1
