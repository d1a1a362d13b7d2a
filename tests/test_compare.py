from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snnrl.compare import PICTURES, file_names, main
from snnrl.experiment.config.compose import compose_config
from snnrl.run_format.names import OWN_RUNS
from tests.analysis.test_plots import assert_picture
from tests.analysis.test_wandb_runs import StubApi, StubRun
from tests.run_folders import write_run

RETURNS = {0: [0.0, 2.0], 500: [10.0, 20.0], 1000: [30.0, 50.0]}


def write_runs(folder: Path, seeds: int = 2, **settings: Any) -> None:
    for seed in range(seeds):
        write_run(folder / f"seed-{seed}", RETURNS, seed=seed, **settings)


def test_writes_table_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "a", errors={0: [0.5], 1000: [0.1]}, clock={0: 0, 1000: 60})
    write_runs(tmp_path / "b", bn="vanilla")
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name" in printed
    assert "40.0 ± 0 [40.0, 40.0]" in printed
    assert sorted(file.name for file in out.iterdir()) == sorted(file_names(["png"]))
    for name in file_names(["png"]):
        assert f"wrote {out / name}" in printed
        if name.endswith(".png"):
            assert_picture(out / name)
    # A row a group, and one of the average over environments.
    assert (out / "table.csv").read_text().count("\n") == 4
    assert (out / "table.md").read_text().rstrip() in printed


def test_single_run_into_the_default_folder_by_the_command_line(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", seeds=1)
    finished = subprocess.run(
        [sys.executable, "-m", "snnrl.compare", "a"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    assert "td3, spiking, lif, carebn" in finished.stdout
    assert (tmp_path / "compare" / "curves.png").exists()


def test_without_a_folder_one_s_own_runs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(Path("results") / "runs" / "env" / "a")
    write_runs(Path("results") / "recorded" / "env" / "b", bn="vanilla")
    (Path("results") / "runs" / "lost").symlink_to("nowhere")
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| td3, spiking, lif, carebn \| +2 \|", printed)
    assert "vanilla" not in printed
    assert "- left out, a link to nothing: results/runs/lost" in printed
    assert compose_config().results_dir == OWN_RUNS


def test_one_s_own_runs_of_the_earlier_default_place_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(Path("results") / "Env-v0" / "td3-long-01234567")
    write_runs(Path("results") / "recorded" / "Env-v0" / "td3-long-01234567")
    assert main([]) == 2
    assert "earlier versions wrote to results/Env-v0" in capsys.readouterr().err
    write_runs(Path("results") / "runs" / "Env-v0" / "td3-01234567")
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "- left out, earlier versions wrote to it by default: results/Env-v0\n" in printed
    assert main(["results/runs"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_earlier_pictures_do_not_stay(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", errors={0: [0.5]})
    write_runs(tmp_path / "b")
    out = tmp_path / "out"
    main([str(tmp_path / "a"), "--out", str(out)])
    assert (out / "statistics_error.png").exists()
    main([str(tmp_path / "b"), "--out", str(out)])
    assert not (out / "statistics_error.png").exists()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("asked", "formats"),
    [
        (["svg"], ["svg"]),
        (["png,svg"], ["png", "svg"]),
        (["pdf", "png,pdf"], ["pdf", "png"]),
    ],
)
def test_pictures_in_the_formats_that_are_asked_for(
    asked: list[str], formats: list[str], tmp_path: Path
) -> None:
    write_runs(tmp_path / "a", seeds=1)
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), "--out", str(out), "--format", *asked]) == 0
    without_data = ("wall_time", "statistics_error")
    expected = [name for name in file_names(formats) if not name.startswith(without_data)]
    assert sorted(file.name for file in out.iterdir()) == sorted(expected)
    # The page needs no other file, whatever was asked for.
    assert (out / "comparison.html").read_text().count("data:image/png;base64,") == 2


def test_pictures_of_other_formats_do_not_stay(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", seeds=1)
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), "--out", str(out), "--format", "svg"]) == 0
    assert main([str(tmp_path / "a"), "--out", str(out)]) == 0
    assert {file.suffix for file in out.iterdir() if file.stem in PICTURES} == {".png"}


def test_a_mistake_leaves_an_earlier_comparison(tmp_path: Path) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", status="FAILED")
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), "--out", str(out)]) == 0
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert main([str(tmp_path / "b"), "--out", str(out)]) == 2
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_a_failure_while_writing_leaves_an_earlier_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", bn="none")
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), "--out", str(out)]) == 0
    before = {file: file.read_bytes() for file in out.iterdir()}

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("snnrl.compare.to_html", full)
    capsys.readouterr()
    assert main([str(tmp_path / "b"), "--out", str(out)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in out.iterdir()} == before


def test_the_same_comparison_twice_is_the_same_files(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", clock={0: 0, 1000: 60})
    out = tmp_path / "out"
    arguments = [str(tmp_path / "a"), "--out", str(out)]
    assert main(arguments) == 0
    first = {file: file.read_bytes() for file in out.iterdir()}
    assert main(arguments) == 0
    assert {file: file.read_bytes() for file in out.iterdir()} == first


def test_a_folder_in_the_place_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "a")
    out = tmp_path / "out"
    (out / "comparison.html").mkdir(parents=True)
    (out / "table.md").write_text("earlier")
    assert main([str(tmp_path / "a"), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--out {out}: expected to write the file {out / 'comparison.html'}, which is" in line
    assert (out / "table.md").read_text() == "earlier"
    assert len(list(out.iterdir())) == 2


def test_results_beside_the_comparison_stay(tmp_path: Path) -> None:
    write_runs(tmp_path)
    assert main([str(tmp_path), "--out", str(tmp_path)]) == 0
    assert main([str(tmp_path), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "seed-0" / "evaluations.csv").exists()
    assert not list(tmp_path.glob(".compare-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["a", "--by", "bn.nam"], "--by bn.nam: expected a key.*did you mean 'bn.name'"),
        (["a", "--out", "file"], "--out file: expected a folder to write to"),
        (["a", "--env", "Ant-v4"], "--env Ant-v4: expected an environment of the runs"),
        (["a", "--baseline", "none"], "--baseline none: expected one of the groups"),
        ([], "results/runs: no runs of your own there; expected run folders, or --wandb"),
        (["a", "--format", "jpeg"], "--format=jpeg: expected one of png, pdf, svg"),
        (["a", "--format", "pfd"], "--format=pfd: expected .*did you mean 'pdf'"),
        (["a", "--format", ","], "--format: expected some of png, pdf, svg"),
        (["a", "--metric", "best"], "argument --metric: invalid choice: 'best'"),
        (["a", "--wandb", "me"], "--wandb me: expected entity/project"),
        (["failed"], "no run has a result to compare: failed/seed-0: no reason recorded"),
        (["nan"], "nan/seed-0/evaluations.csv: line 2: expected five finite numbers"),
    ],
)
def test_mistakes_end_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_runs(tmp_path / "a", seeds=1)
    write_runs(tmp_path / "failed", seeds=1, status="FAILED")
    write_run(tmp_path / "nan" / "seed-0", {0: [math.nan]})
    (tmp_path / "file").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re.match(f"error: {message}", line)
    assert not (tmp_path / "compare").exists()


@pytest.mark.slow
def test_a_baseline_of_which_all_runs_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for env in ("half_cheetah", "pendulum"):
        write_runs(tmp_path / env / "a", seeds=2, env=env)
        write_runs(tmp_path / env / "b", seeds=2, env=env, bn="vanilla", status="FAILED")
    out = str(tmp_path / "out")
    assert main([str(tmp_path), "--out", out]) == 0
    assert "baseline: carebn" in capsys.readouterr().out
    assert main([str(tmp_path), "--out", out, "--baseline", "vanilla"]) == 0
    assert "the baseline vanilla has no result" in capsys.readouterr().out


def test_by_takes_the_short_name_and_says_what_it_pools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", settings={"algo.batch_size": 64})
    write_runs(tmp_path / "c", bn="vanilla", settings={"algo.batch_size": 64})
    assert main([str(tmp_path), "--by", "bn", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name" in printed
    assert "- carebn: pools runs that differ in algo.batch_size" in printed
    assert "vanilla: pools" not in printed


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("by", [["bn,algo.batch_size"], ["bn", "algo.batch_size"]])
def test_by_takes_several_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], by: list[str]
) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", settings={"algo.batch_size": 64})
    arguments = [str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--by", *by]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name, algo.batch_size; baseline: carebn, algo.batch_size=256" in printed


def test_old_runs_and_new_ones_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that earlier versions did not have are no difference."""
    write_runs(tmp_path / "old")
    write_runs(tmp_path / "new", settings={"env.n_envs": 1, "env.observation": "default"})
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "grouped by algo.name, actor.name, neuron.name, bn.name" in printed
    assert "pools runs" not in printed


def test_runs_of_wandb_join_those_of_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = StubApi([StubRun("x", bn="vanilla", seed=5)])
    monkeypatch.setattr("snnrl.analysis.wandb_runs._connect", lambda: api)
    write_runs(tmp_path / "a")
    out = ["--by", "bn", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "a"), "--wandb", "me/project", *out]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name; baseline: vanilla" in printed
    assert "- from W&B me/project: means over episodes only" in printed
    assert main(["--wandb", "me/project/group", *out]) == 0
    assert api.asked == [("me/project", None), ("me/project", {"group": "group"})]
