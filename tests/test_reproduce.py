from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from snnrl import reproduce
from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.reproduction import source
from snnrl.experiment.reproduction.compare import compare_models, compare_tables
from snnrl.experiment.reproduction.remake import added_settings, read_record, remake
from snnrl.experiment.reproduction.source import as_patch, record_source
from snnrl.run_format.names import OWN_RUNS
from tests.experiment.helpers import arguments, folder_of, train

TOP = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was extended once."""
    results = tmp_path_factory.mktemp("results")
    for total in (70, 100):
        assert train(results, f"total_steps={total}") == 0
    return folder_of(results).path


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(finished, tmp_path / "env" / "setting" / "seed-0"))


def main(*words: Any) -> int:
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        return reproduce.main([str(word) for word in words])


def refused(capsys: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line with which a command is refused."""
    assert main(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def edit_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# Running again


@pytest.mark.slow
def test_an_extended_run_is_made_again_bit_for_bit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert main(folder, "--results-dir", tmp_path / "again") == 0
    out = capsys.readouterr().out
    assert "evaluations.csv: identical (6 rows)" in out
    assert "model.zip: identical" in out
    assert "the result is identical" in out
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    (again,) = (tmp_path / "again").glob("*/*/seed-0")
    assert (again / "evaluations.csv").read_bytes() == (folder / "evaluations.csv").read_bytes()


@pytest.mark.slow
def test_it_says_where_a_result_first_differs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (folder / "evaluations.csv").read_text().splitlines()
    start = lines[4].rpartition(",")[0].rpartition(",")[0]  # of the second episode at step 50
    lines[4] = lines[4].replace(f"{start},", f"{start},9")
    (folder / "evaluations.csv").write_text("\n".join(lines) + "\n")
    again = tmp_path / "again"
    assert main(folder, "--results-dir", again) == 1
    out = capsys.readouterr().out
    assert "evaluations.csv: differs (first differs at step 50, row 4, return: 9" in out
    assert "model.zip: identical" in out
    assert "progress.csv: identical (3 rows)" in out
    assert "the result is not identical" in out
    # The same command again runs nothing, and comes to the same.
    assert main(folder, "--results-dir", again) == 1
    assert "already done" in capsys.readouterr().out


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["model.zip", "evaluations.csv"])
def test_half_a_result_is_not_identical(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clone of a repository has no models."""
    (folder / name).unlink()
    assert main(folder, "--results-dir", tmp_path / "again") == 1
    out = capsys.readouterr().out
    assert f"{name}: not compared ({folder} does not hold it)" in out
    assert f"what was compared is the same, but {folder} does not hold the whole result" in out
    assert "the result is" not in out


def test_nothing_to_compare_is_not_identical(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.zip", "evaluations.csv"):
        (folder / name).unlink()
    assert main(folder, "--results-dir", tmp_path / "again") == 1
    out = capsys.readouterr().out
    assert "nothing was compared" in out
    assert "identical" not in out


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("step", ["0,", "50,", "100,"])
def test_an_evaluation_that_is_gone_is_a_difference(
    step: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the run was made in parts."""
    lines = (folder / "evaluations.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(step)]
    (folder / "evaluations.csv").write_text("".join(kept))
    assert main(folder, "--results-dir", tmp_path / "again") == 1
    out = capsys.readouterr().out
    assert "evaluations.csv: differs (" in out
    assert "the result is not identical" in out


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluations.csv", b""),
        ("evaluations.csv", b"timesteps,episode,seed,length\n0,0,100,9\n"),
        ("evaluations.csv", b"timesteps,episode,seed,return,length\n0,0,100,9"),
        ("evaluations.csv", b'"' + b"\xff" * 200_000),
        ("model.zip", b""),
        ("model.zip", b"PK\x03\x04 and so on"),
    ],
)
def test_half_a_file_is_not_identical(
    name: str,
    content: bytes,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / name).write_bytes(content)
    assert main(folder, "--results-dir", tmp_path / "again") in (1, 2)
    out, err = capsys.readouterr()
    assert "the result is identical" not in out
    assert f"{name}: differs" in out or f"{folder / name}: " in err


def test_whatever_bit_of_a_model_is_wrong(finished: Path, tmp_path: Path) -> None:
    """It is found, or it is of no tensor; never anything but a line."""
    content = (finished / "model.zip").read_bytes()
    for place in range(0, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        (tmp_path / "model.zip").write_bytes(damaged)
        try:
            compare_models(tmp_path, finished)
        except UserError as problem:
            assert "expected a model that a run has saved" in str(problem)


def test_an_earlier_reproduction_by_other_code_is_not_taken_for_this_one(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(folder, "--results-dir", tmp_path / "again") == 0
    (again,) = (tmp_path / "again").glob("*/*/seed-0")
    edit_json(again / "provenance.json", lambda facts: facts["versions"].update(torch="1.0"))
    capsys.readouterr()
    line = refused(capsys, folder, "--results-dir", tmp_path / "again")
    assert f"{again}: made by an earlier reproduction whose torch differed" in line


def test_a_run_that_fails_again_is_not_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("snnrl.experiment.callbacks.errors_of_statistics", fail)
    assert main(folder, "--results-dir", tmp_path / "again") == 1


# The configuration that is run

VARIED = [
    ["algo=ppo", "critic=spiking", "bn@critic.bn=vanilla", "env.n_envs=2", "algo.batch_size=4"],
    ["algo=dqn", "env=cartpole", "algo.max_grad_norm=3.5", "bn=vanilla"],
    ["algo=td3", "critic=spiking", "loss@critic.loss=rate", "critic.loss.weight=0.5"],
    ["algo=sac", "actor=ann", "env.id='Pendulum-v1'", "algo.ent_coef=null"],
    ["neuron=clif", "bn=ca_only", "bn.recalibrate_every=null", "surrogate=triangle"],
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("changes", VARIED, ids=lambda changes: changes[0])
def test_every_value_is_what_it_was(changes: list[str], tmp_path: Path) -> None:
    cfg = compose_config(arguments(tmp_path, *changes))
    folder = tmp_path / "seed-0"
    folder.mkdir()
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    (folder / "overrides.yaml").write_text("[]")
    facts = {"versions": {}, "kernel": "naive", "hardware": {"gpu": None}}
    (folder / "provenance.json").write_text(json.dumps(facts))
    recorded = read_record(folder)
    remade, overrides = remake(recorded, tmp_path / "it's there, a=b")
    assert remade.results_dir == str(tmp_path / "it's there, a=b")
    assert (remade.device, remade.tracking.name) == ("cpu", "none")
    expected = {**OmegaConf.to_container(cfg), "device": "cpu"}
    found = OmegaConf.to_container(remade)
    for key in ("tracking", "results_dir"):
        del expected[key], found[key]
    assert found == expected
    assert compose_config(overrides) == remade
    assert added_settings(recorded, remade) == {}


def test_it_runs_with_the_kernel_and_the_device_that_auto_was(folder: Path) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["kernel"] = "compile"
        facts["hardware"]["gpu"] = "a GPU"

    edit_json(folder / "provenance.json", change)
    cfg, _ = remake(read_record(folder), Path("again"))
    assert (cfg.kernel.name, cfg.device) == ("compile", "cuda")


OLD = [
    folder
    for folder in sorted((TOP / "results").glob("*/*/*-spiking-*/seed-0"))
    if TOP / OWN_RUNS not in folder.parents
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("old", OLD, ids=lambda path: path.parent.name[:40])
def test_the_published_folders_can_be_checked(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(old, "--check") in (0, 1)
    out = capsys.readouterr().out
    assert "command:  python -m snnrl.train " in out
    assert "cannot be run here" not in out
    recorded = read_record(old)
    cfg, _ = remake(recorded, tmp_path)
    assert added_settings(recorded, cfg) == {}
    # The hash leaves the kernel that was chosen for the run's own choice.
    cfg.kernel.name = recorded.config["kernel"]["name"]
    name, _, digits = old.parent.name.rpartition("-")
    assert (label(cfg)[: len(name)], settings_hash(cfg)) == (name, digits)


def test_another_programs_run_can_be_checked_and_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock = TOP / "results" / "stock" / "Pendulum-v1" / "td3-stock" / "seed-0"
    assert main(stock, "--check") == 1
    out = capsys.readouterr().out
    assert "command:  stock_baselines.py" in out
    assert "cannot be run here: actor=stock: expected one of ann, spiking" in out
    assert "actor=stock" in refused(capsys, stock, "--results-dir", tmp_path)


# What differs


def test_a_check_where_nothing_differs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The code may have been edited since the fixture ran.
    edit_json(folder / "provenance.json", lambda facts: facts.update(git=record_source()))
    assert main(folder, "--check") == 0
    out = capsys.readouterr().out
    assert "the same code, packages and hardware" in out
    assert "total_steps=100" in out  # the command
    assert ", resumed 2" in out
    assert "kernel:   naive; threads: 1" in out


def test_a_check_names_what_differs_and_runs_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["versions"] |= {"torch": "1.0", "minigrid": "2.0"}
        facts["hardware"]["cpu"] = "Cray-1"
        facts["git"] = {"revision": "0" * 40, "diff": None, "untracked": {}}
        facts["resumed_from"][0]["versions"]["numpy"] = "0.9"

    edit_json(folder / "provenance.json", change)
    assert main(folder, "--check", "--results-dir", tmp_path / "again") == 1
    out = capsys.readouterr().out
    assert f"torch: 1.0 there, {torch.__version__} here" in out
    assert "minigrid: 2.0 there, not installed here" in out
    assert "cpu: Cray-1 there" in out
    assert "code: revision 0000000000 there" in out
    assert f"git checkout {'0' * 40}" in out
    assert "numpy: 0.9 there (start 1 of 2)" in out
    assert "pip install torch==1.0 minigrid==2.0 numpy==" in out
    assert not (tmp_path / "again").exists()


def test_a_setting_that_came_later_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["algo"]["policy_delay"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(folder, "--check") == 1
    assert "setting algo.policy_delay: not there there, 2 here" in capsys.readouterr().out


def test_the_code_of_a_run_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its revision, and a patch with what was uncommitted, new files too."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    (checkout / "snnrl").mkdir(parents=True)
    (checkout / "snnrl" / "a.py").write_text("one\ntwo\n")

    def git(folder: Path, *words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e")
        subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)

    git(checkout, "init")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "first")
    git(tmp_path, "clone", str(checkout), str(elsewhere))
    changed = {"a.py": "one\n2\n", "new.py": "whole\nlines\n", "cut.py": "no end", "empty.py": ""}
    for name, text in changed.items():
        (checkout / "snnrl" / name).write_text(text)
    monkeypatch.setattr(source, "CHECKOUT", checkout)
    then = source.record_source()
    assert source.same_source(then, then)
    assert source.in_words(then).endswith("with uncommitted changes to 4 files")
    (tmp_path / "patch").write_text(as_patch(then))
    git(elsewhere, "apply", str(tmp_path / "patch"))
    for name, text in changed.items():
        assert (elsewhere / "snnrl" / name).read_text() == text
    (checkout / "snnrl" / "a.py").write_text("one\n3\n")
    assert not source.same_source(then, source.record_source())
    (checkout / "snnrl" / "a.py").write_text("one\n2\n")
    (checkout / "README.md").write_text("another revision with the same code\n")
    git(checkout, "add", "README.md")
    git(checkout, "commit", "-m", "second")
    now = source.record_source()
    assert now["revision"] != then["revision"]
    assert source.same_source(then, now)


def test_files_beside_the_code_that_are_odd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snnrl").mkdir()
    subprocess.run(["git", "-C", str(tmp_path), "init"], check=True, capture_output=True)
    (tmp_path / "snnrl" / "ä b.py").write_text("x\n")
    (tmp_path / "snnrl" / "bytes.py").write_bytes(b"\xff\n")
    (tmp_path / "snnrl" / ".#lock").symlink_to("nowhere")
    monkeypatch.setattr(source, "CHECKOUT", tmp_path)
    assert set(record_source()["untracked"]) == {"snnrl/ä b.py", "snnrl/bytes.py"}


def test_the_patch_is_written(folder: Path, tmp_path: Path) -> None:
    def change(facts: dict[str, Any]) -> None:
        facts["git"] = {"revision": "0" * 40, "diff": None, "untracked": {"snnrl/x.py": "x\n"}}

    edit_json(folder / "provenance.json", change)
    assert main(folder, "--check", "--patch", tmp_path / "patch") == 1
    assert "+++ b/snnrl/x.py" in (tmp_path / "patch").read_text()


# Comparing


def test_tables_of_different_lengths_differ(tmp_path: Path) -> None:
    for name, text in (("a", "timesteps,x\n0,1\n5,2\n"), ("b", "timesteps,x\n0,1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(text)
    assert (
        compare_tables(tmp_path / "a", tmp_path / "b", "t.csv", resumed=False).detail
        == "2 rows there, 1 here"
    )


def test_clocks_and_columns_of_one_are_not_compared(tmp_path: Path) -> None:
    texts = {"a": "timesteps,time/fps,x\n0,1,7\n", "b": "timesteps,time/fps,x,new\n0,2,7,1\n"}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(text)
    assert compare_tables(tmp_path / "a", tmp_path / "b", "t.csv", resumed=False).same


@pytest.mark.parametrize("resumed", [False, True])
def test_other_steps_are_excused_where_a_run_was_extended(resumed: bool, tmp_path: Path) -> None:
    for name, step in (("a", 5), ("b", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_text(f"timesteps,x\n0,1\n{step},2\n")
    found = compare_tables(tmp_path / "a", tmp_path / "b", "t.csv", resumed=resumed)
    assert found.same is (None if resumed else False)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"timesteps,y\n0,1\n"])
def test_a_table_of_something_else(content: bytes, tmp_path: Path) -> None:
    for name, text in (("a", content), ("b", b"timesteps,x\n0,1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv").write_bytes(text)
    with pytest.raises(UserError, match=r"t\.csv: expected the columns timesteps, x"):
        compare_tables(tmp_path / "a", tmp_path / "b", "t.csv", resumed=False)


def test_one_bit_of_one_tensor_is_found(finished: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    other = tmp_path / "model.zip"
    with ZipFile(finished / "model.zip") as old, ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "policy.pth":
                with old.open(name) as file:
                    state = torch.load(file, weights_only=True)
                bias = state["actor.network.layers.0.linear.bias"]
                bias[3] = torch.nextafter(bias[3], torch.tensor(1.0))
                with new.open(name, "w") as file:
                    torch.save(state, file)
            else:
                new.writestr(name, content)
    found = compare_models(finished, tmp_path)
    assert not found.same
    assert "1 of " in found.detail
    assert "policy.actor.network.layers.0.linear.bias, by up to" in found.detail
    assert compare_models(finished, finished).same


# Mistakes


def test_mistakes_are_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert "not a run folder" in refused(capsys, tmp_path / "nowhere")
    assert "not a run folder" in refused(capsys, folder.parent)
    assert "--help" in refused(capsys, folder, "--chekc")
    assert "the run itself is there" in refused(capsys, folder, "--results-dir", tmp_path)
    assert "had no uncommitted changes" in refused(capsys, read_only_record(folder), "--patch", "p")
    (folder / "DONE").unlink()
    assert "has no DONE" in refused(capsys, folder, "--results-dir", again)
    assert main(folder, "--check") in (0, 1)
    capsys.readouterr()
    for name, damaged in (("overrides.yaml", "3"), ("provenance.json", "{")):
        text = (folder / name).read_text()
        (folder / name).write_text(damaged)
        assert f"{name}: cannot be read" in refused(capsys, folder, "--check")
        (folder / name).write_text(text)
    (folder / "provenance.json").unlink()
    assert "half-written" in refused(capsys, folder, "--check")
    (folder / "config.yaml").write_text("{seed: 3}\n")
    assert "has no 'env.id'" in refused(capsys, folder)
    assert not again.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", None), ("seed", "one"), ("neuron", None), ("algo", "td3"), ("bn", {}), ("kernel", 3)],
)
def test_a_configuration_that_is_damaged(
    key: str, value: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, key: value}))
    assert f"config.yaml: has no '{key}" in refused(capsys, folder, "--check")


@pytest.mark.parametrize(
    ("key", "value"),
    [("resumed_from", [3]), ("resumed_from", 5), ("hardware", []), ("git", "x"), ("versions", 3)],
)
def test_a_history_that_is_damaged(
    key: str, value: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_json(folder / "provenance.json", lambda facts: facts.update({key: value}))
    assert "provenance.json: cannot be read" in refused(capsys, folder, "--check")


def test_a_check_says_that_a_run_is_not_finished(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "DONE").rename(folder / "FAILED")
    main(folder, "--check")
    assert "not finished: it failed" in capsys.readouterr().out


def test_a_place_from_which_the_run_itself_is_found(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Compared with itself it would be identical."""
    monkeypatch.chdir(tmp_path)
    cfg, _ = remake(read_record(folder), Path("elsewhere"))
    place = RunFolder(cfg).path.relative_to("elsewhere")
    earlier_default = Path("results") / place
    earlier_default.parent.mkdir(parents=True)
    folder.rename(earlier_default)
    linked = Path("linked") / place
    linked.parent.parent.mkdir(parents=True)
    linked.parent.symlink_to(earlier_default.parent.resolve())
    for results in ("results/runs", "linked"):
        line = refused(capsys, earlier_default, "--results-dir", results)
        assert "the run itself is there" in line
    assert not Path("reproduced").exists()


def test_a_place_in_the_run_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (folder, folder / "below"):
        assert "the run itself is there" in refused(capsys, folder, "--results-dir", place)


def read_only_record(folder: Path) -> Path:
    """A folder whose code was all committed."""
    edit_json(
        folder / "provenance.json",
        lambda facts: facts.update(git={"revision": "0" * 40, "diff": None, "untracked": {}}),
    )
    return folder


def test_a_run_of_another_version_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["algo"]["warp"] = 9
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    line = refused(capsys, folder, "--results-dir", tmp_path / "again")
    assert "this version cannot run it here (algo.warp: no such setting" in line
    assert main(folder, "--check") == 1
    assert "cannot be run here: algo.warp: no such setting" in capsys.readouterr().out
