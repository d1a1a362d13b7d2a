from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.run_format import evaluations as evaluations_file
from snnrl.run_format import statistics_error
from snnrl.run_format.settings import NOT_SETTINGS
from snnrl.run_format.table import Table
from snnrl.seeds import child_seed
from tests.experiment.helpers import folder_of, rows_of, steps_in, train


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("results")
    assert train(path) == 0
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_file_is_there(results: Path) -> None:
    assert set(contents(folder_of(results).path)) == {
        ".lock",
        ".saved",
        "config.yaml",
        "overrides.yaml",
        "provenance.json",
        "progress.csv",
        "evaluations.csv",
        "statistics_error.csv",
        "checkpoint/save-1/agent.zip",
        "checkpoint/save-1/manifest.json",
        "checkpoint/save-1/state.pt",
        "checkpoint/replay/segment-0-100.npz",
        "model.zip",
        "best_model.zip",
        "curve.png",
        "DONE",
    }


def test_the_path_tells_what_ran(results: Path) -> None:
    folder = folder_of(results)
    env, setting, seed = folder.path.relative_to(results).parts
    assert env == "InvertedPendulum-v4"
    assert setting == f"td3-lif-carebn-{settings_hash(folder.cfg)}"
    assert seed == "seed-0"


@pytest.mark.slow
def test_done_is_written_last(results: Path) -> None:
    folder = folder_of(results).path
    done = (folder / "DONE").stat().st_mtime_ns
    assert all(p.stat().st_mtime_ns <= done for p in folder.rglob("*") if p.is_file())
    mark = json.loads((folder / "DONE").read_text())
    assert (mark["timesteps"], mark["kernel"]) == (100, "naive")
    assert set(mark["files"]) == {
        *("config.yaml", "overrides.yaml", "provenance.json"),
        *("evaluations.csv", "progress.csv", "statistics_error.csv"),
        *("curve.png", "model.zip", "best_model.zip"),
    }


def test_tables(results: Path) -> None:
    folder = folder_of(results)
    evaluations = rows_of(folder, "evaluations")
    assert list(evaluations[0]) == evaluations_file.COLUMNS
    keys = [(row["timesteps"], row["episode"], row["seed"]) for row in evaluations]
    seeds = {k: str(child_seed(0, "evaluation", int(k))) for k in "01"}
    assert keys == [(str(step), k, seeds[k]) for step in (0, 50, 100) for k in "01"]
    assert all(float(row["return"]) == int(row["length"]) for row in evaluations)
    errors = rows_of(folder, "statistics_error")
    assert list(errors[0]) == statistics_error.COLUMNS
    assert {row["layer"] for row in errors} == {"layer0", "layer1"}
    progress = rows_of(folder, "progress")
    assert {
        "timesteps",
        "rollout/ep_rew_mean",
        "time/fps",
        "train/actor_loss",
        "train/critic_loss",
        "evaluation/return",
        "firing_rate/encoder",
        "firing_rate/layer0",
        "gain_mean/layer0",
        "gain_var/layer1",
    } <= progress[0].keys()
    assert steps_in(folder, "progress") == [0, 50, 100]
    assert len(progress) == 3


def test_what_ran_is_recorded(results: Path) -> None:
    folder = folder_of(results)
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert config == OmegaConf.to_container(folder.cfg, resolve=True)
    overrides = yaml.safe_load((folder.path / "overrides.yaml").read_text())
    assert "actor.hidden=[8]" in overrides
    provenance = json.loads((folder.path / "provenance.json").read_text())
    assert (provenance["seed"], provenance["kernel"], provenance["threads"]) == (0, "naive", 1)
    assert {"torch", "python", "snnrl", "mujoco"} <= provenance["versions"].keys()
    assert {"command", "git", "hardware", "started"} <= provenance.keys()


@pytest.mark.slow
def test_a_finished_run_says_so_and_is_left_alone(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(results).path
    before = contents(folder)
    assert train(results) == 0
    assert f"already done (100 steps): {folder}" in capsys.readouterr().out
    assert train(results, "total_steps=60") == 0
    assert contents(folder) == before


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("text", ["", "[]", '{"timesteps": Infinity}', '{"steps": 1}'])
def test_a_mark_that_cannot_be_read(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path).path
    folder.mkdir(parents=True)
    (folder / "DONE").write_text(text)
    assert train(tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'DONE'}: cannot be read; remove it to resume from the checkpoint" in line


def test_a_path_that_is_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / ("a" * 300)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot write there (File name too long)" in line


def test_more_steps_go_on(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(results)
    before = rows_of(folder, "evaluations")
    assert train(results, "total_steps=130") == 0
    assert "resuming from step 100 of 130" in capsys.readouterr().out
    assert folder.finished_steps() == 130
    assert steps_in(folder, "evaluations") == [0, 50, 100, 130]
    assert rows_of(folder, "evaluations")[: len(before)] == before
    provenance = json.loads((folder.path / "provenance.json").read_text())
    assert len(provenance["resumed_from"]) == 1


# Names


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 or 0.3
    if isinstance(value, list):
        return [*value, 9]
    return "another" if isinstance(value, str) else 3


def leaves(node: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key in map(str, node):
        path, value = f"{prefix}{key}", node[key]
        keys += leaves(value, f"{path}.") if isinstance(value, DictConfig) else [path]
    return keys


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["algo=ddpg", "neuron=dn", "encoder=direct"],
        ["algo=ppo", "critic=spiking"],
        ["algo=dqn", "env=minatar/breakout"],
        ["algo=sac"],
    ],
)
def test_any_setting_changes_the_folder_and_nothing_else_does(overrides: list[str]) -> None:
    cfg = compose_config(overrides)
    OmegaConf.set_struct(cfg, False)
    plain = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(plain, DictConfig)
    hashes = {}
    for key in leaves(plain):
        other = plain.copy()
        OmegaConf.update(other, key, changed(_get(plain, key)))
        hashes[key] = settings_hash(other)
    same = {key for key, found in hashes.items() if found == settings_hash(plain)}
    assert same == {key for key in hashes if key.split(".")[0] in NOT_SETTINGS}
    different = [found for key, found in hashes.items() if key not in same]
    assert len(set(different)) == len(different) > 30


def _get(cfg: DictConfig, key: str) -> Any:
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value) if OmegaConf.is_list(value) else value


def test_what_does_not_change_learning_does_not_change_the_folder() -> None:
    assert set(NOT_SETTINGS) == {
        "seed",
        "total_steps",
        "epochs",
        "tracking",
        "checkpoint",
        "results_dir",
        "experiment_name",
        "device",
        "threads",
        "deterministic",
        "log_every",
        "retry",
    }


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["experiment=carebn/td3"], ["neuron=clif", "experiment_name=paper"]),
        ([], ["algo=td3", "bn=carebn", "algo.gamma=0.99", "total_steps=50000"]),
        (["algo=ddpg"], ["algo=ddpg", "critic=ann_late", "critic.hidden=[400,300]"]),
        (["actor=ann"], ["actor=ann", "bn=none"]),
        (["env=hopper"], ["env=ant", "env.id=Hopper-v4"]),
    ],
)
def test_two_routes_to_the_same_settings_share_a_folder(
    one: list[str], other: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunFolder(compose_config(one)).path == RunFolder(compose_config(other)).path


def test_the_label_names_all_that_is_not_default() -> None:
    assert label(compose_config()) == "td3-spiking-lif-carebn"
    assert label(compose_config(["actor=ann"])) == "td3-ann-none"
    two = label(compose_config(["surrogate=tanh", "actor.hidden=[64,32]"]))
    assert two == "td3-spiking-lif-carebn-tanh-actor.hidden=64,32"
    many = [f"algo.{key}=0.123456" for key in ("gamma", "tau", "learning_rate")]
    many += [f"bn.{key}=0.123456" for key in ("momentum", "smoothing", "eps", "effective_n")]
    assert set(many) <= set(label(compose_config(many)).split("-"))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["algo=dqn"], "dqn-spiking-lif-carebn"),
        (["algo=ddpg"], "ddpg-spiking-lif-carebn"),
        (["env=minatar/breakout", "algo=dqn"], "dqn-spiking-lif-carebn"),
        (["env=minatar/breakout", "algo=ppo", "conv=nature"], "ppo-spiking-lif-carebn-nature"),
        (["algo=dqn", "encoder=population"], "dqn-spiking-lif-carebn-population"),
        (["critic=spiking"], "td3-spiking-lif-carebn-critic_spiking_carebn"),
        (
            ["critic=spiking", "bn@critic.bn=vanilla", "critic.bn.momentum=0.2"],
            "td3-spiking-lif-carebn-critic_spiking_vanilla-critic.bn.momentum=0.2",
        ),
        (["actor=ann", "critic=spiking"], "td3-ann-lif-none-critic_spiking_carebn"),
        (["algo=dqn", "env=atari/pong_ram"], "dqn-spiking-lif-carebn-ram"),
        (["algo=dqn", "env=atari/pong"], "dqn-spiking-lif-carebn-pixels"),
        (["env.n_envs=4"], "td3-spiking-lif-carebn-env.n_envs=4"),
        (["algo=ppo", "actor=ann"], "ppo-ann-none"),
    ],
)
def test_labels_of_all_kinds(overrides: list[str], expected: str) -> None:
    assert label(compose_config(overrides)) == expected


def test_ram_and_pixels_share_the_game_s_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [
        RunFolder(compose_config(["algo=dqn", f"env=atari/pong{seen}"])) for seen in ("", "_ram")
    ]
    assert {f.path.parts[-3] for f in folders} == {"ALE-Pong-v5"}
    assert len({f.path.parts[-2] for f in folders}) == 2


def test_settings_of_a_spiking_critic_count_without_a_spiking_actor() -> None:
    hashes = {
        settings_hash(compose_config(["actor=ann", "critic=spiking", *more]))
        for more in ([], ["neuron=clif"], ["surrogate=tanh"], ["bn@critic.bn=vanilla"])
    }
    assert len(hashes) == 4


def test_runs_from_before_a_setting_existed_are_found_again() -> None:
    cfg = compose_config(["seeding=additive"])
    earlier = OmegaConf.create(OmegaConf.to_container(cfg))
    assert isinstance(earlier, DictConfig)
    del earlier["seeding"]
    for group, key in (("env", "observation"), ("env", "n_envs"), ("actor", "readout")):
        del earlier[group][key]
    del earlier["conv"]
    for key in ("confidence", "process_noise"):
        del earlier["bn"][key]
    assert settings_hash(earlier) == settings_hash(cfg) == "05fc5392"


# The lock


def test_a_second_process_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path)
    with folder.locked():
        folder.begin([], {}, fresh=True)
        assert (folder.path / ".lock").exists()
        before = contents(folder.path)
        assert train(tmp_path) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(folder.path) in line
        assert "another process" in line
        assert contents(folder.path) == before


def test_a_lock_that_a_crash_left_does_not_hold(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.path.mkdir(parents=True)
    (folder.path / ".lock").touch()
    with folder.locked():
        pass


def test_a_run_that_does_not_begin_leaves_no_folder(tmp_path: Path) -> None:
    results_dir = tmp_path / "new" / "results"
    with pytest.raises(ZeroDivisionError), folder_of(results_dir).locked():
        assert results_dir.exists()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_does_not_begin_leaves_other_runs_alone(tmp_path: Path) -> None:
    with folder_of(tmp_path, "seed=0").locked():
        with folder_of(tmp_path, "seed=1").locked():
            pass
        assert [p.name for p in folder_of(tmp_path).path.parent.iterdir()] == ["seed-0"]


# Tables


def test_new_columns_are_empty_in_earlier_rows(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    table.append([{"timesteps": 1, "a": 2}])
    table.append([{"timesteps": 2, "b": 3}])
    assert (tmp_path / "t.csv").read_text() == "timesteps,a,b\n1,2,\n2,,3\n"


def test_tables_are_cut_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("timesteps,a\n1,x\n2,y\n3,z\n1")
    Table(path).keep(2)
    assert path.read_text() == "timesteps,a\n1,x\n2,y\n"


def test_the_fingerprint_of_a_table_is_of_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    table = Table(path)
    table.append([{"timesteps": 1, "a": 2}, {"timesteps": 2, "a": 3}])
    whole = table.fingerprint()
    assert whole[0] == 2
    table.append([{"timesteps": 9, "b": 3}])
    assert table.fingerprint(2) == whole != table.fingerprint()
    assert table.fingerprint(1)[0] == 1
    text = path.read_text()
    path.write_text(text.replace("1,2", "1,7"))
    assert Table(path).fingerprint(2) not in (whole, table.fingerprint(1))
    path.write_bytes(text.encode() + b"\xff\x00,x\n\x00\x00")
    again = Table(path)
    assert again.fingerprint(2) == whole
    again.keep(2)
    assert path.read_text() == "timesteps,a,b\n1,2,\n2,3,\n"
    path.unlink()
    assert Table(path).fingerprint() == (0, 0)


def test_known_rows_come_first_and_none_of_an_earlier_step_follows(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.csv")
    table.append([{"timesteps": 1, "a": 2}, {"timesteps": 5, "a": 3}])
    known = table.fingerprint()
    for step, expected in ((5, True), (6, True), (4, False)):
        table.keep(2)
        assert table.holds(known, 5)
        table.append([{"timesteps": step, "a": 3}])
        assert table.holds(known, 5) is expected
    table.keep(1)
    assert not table.holds(known, 5)


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_text(""),
        lambda path: path.write_text(path.read_text()[:-2]),
        lambda path: path.write_text(path.read_text().replace("3", "4")),
        lambda path: path.write_text(path.read_text() + "5,3"),
        lambda path: path.write_text(path.read_text() + "9,9\n"),
        lambda path: path.write_bytes(b'"' + b"\xff" * 200_000),
    ],
)
def test_what_happens_to_an_open_table_is_mended(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    table = Table(tmp_path / "t.csv")
    table.append([{"timesteps": 1, "a": 2}, {"timesteps": 5, "a": 3}])
    assert not table.sync()
    text = table.path.read_text()
    damage(table.path)
    assert table.sync()
    assert table.path.read_text() == text
    damage(table.path)
    table.append([{"timesteps": 6, "a": 7}])
    table.sync()
    assert table.path.read_text() == text + "6,7\n"


def test_settings_that_an_ordinary_actor_has_no_use_for_change_nothing() -> None:
    plain = compose_config(["actor=ann"])
    other = compose_config(["actor=ann", "neuron=clif", "surrogate=tanh", "kernel=naive"])
    assert settings_hash(plain) == settings_hash(other)
    assert label(plain) == label(other) == "td3-ann-none"


@pytest.mark.slow
def test_a_finished_run_without_its_checkpoint_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 0
    folder = folder_of(tmp_path).path
    shutil.rmtree(folder / "checkpoint")
    before = contents(folder)
    capsys.readouterr()
    assert train(tmp_path, "total_steps=500") == 2
    assert "checkpoint is missing" in capsys.readouterr().err
    assert contents(folder) == before
