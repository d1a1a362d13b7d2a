from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.runs import find_runs
from snnrl.compare import group_runs, grouping_keys, main
from tests.analysis.test_plots import assert_picture
from tests.run_folders import write_run

RETURNS = {0: [0.0, 2.0], 500: [10.0, 20.0], 1000: [30.0, 50.0]}


def write_runs(folder: Path, seeds: int = 2, **settings: Any) -> None:
    for seed in range(seeds):
        write_run(folder / f"seed-{seed}", RETURNS, seed=seed, **settings)


def test_writes_table_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "a", errors={0: [0.5], 1000: [0.1]})
    write_runs(tmp_path / "b", bn="vanilla")
    out = tmp_path / "out"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name" in printed
    assert "40.0 [40.0, 40.0]" in printed
    names = ["curves.png", "statistics_error.png", "table.md", "table.csv"]
    assert sorted(file.name for file in out.iterdir()) == sorted(names)
    for name in names:
        assert f"wrote {out / name}" in printed
    assert_picture(out / "curves.png")
    assert_picture(out / "statistics_error.png")
    assert (out / "table.csv").read_text().count("\n") == 3
    assert "| HalfCheetah-v4 | carebn | 2 | 0 | 0 | 40.0" in (out / "table.md").read_text()


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


def test_earlier_pictures_do_not_stay(tmp_path: Path) -> None:
    write_runs(tmp_path / "a", errors={0: [0.5]})
    write_runs(tmp_path / "b")
    out = tmp_path / "out"
    main([str(tmp_path / "a"), "--out", str(out)])
    assert (out / "statistics_error.png").exists()
    main([str(tmp_path / "b"), "--out", str(out)])
    assert not (out / "statistics_error.png").exists()


def test_only_failed_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "a", status="FAILED")
    assert main([str(tmp_path / "a"), "--out", str(tmp_path / "out")]) == 0
    assert "failed, not in the numbers" in capsys.readouterr().out
    assert not (tmp_path / "out" / "curves.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["a", "--by", "bn.nam"], "--by bn.nam: expected a key.*did you mean 'bn.name'"),
        (["a", "--out", "file"], "--out file: expected a folder to write to"),
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
    (tmp_path / "file").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re.match(f"error: {message}", line)


def test_no_arguments_is_a_mistake() -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("variants", "keys", "names"),
    [
        (
            [{"bn": "carebn"}, {"bn": "vanilla"}],
            ["bn.name"],
            ["carebn", "vanilla"],
        ),
        # The batch size and a key of its own go with the algorithm's name.
        (
            [{}, {"algo": "ddpg", "settings": {"algo.batch_size": 64, "algo.weight_decay": 0.1}}],
            ["algo.name"],
            ["td3", "ddpg"],
        ),
        (
            [{}, {"settings": {"algo.batch_size": 64}}],
            ["algo.batch_size"],
            ["algo.batch_size=256", "algo.batch_size=64"],
        ),
        (
            [{}, {"bn": "vanilla"}, {"bn": "vanilla", "settings": {"bn.momentum": 0.2}}],
            ["bn.name", "bn.momentum"],
            ["carebn, bn.momentum=unset", "vanilla, bn.momentum=unset", "vanilla, bn.momentum=0.2"],
        ),
        (
            [{"bn": "none", "settings": {"actor.name": "ann"}}, {"bn": "carebn"}],
            ["actor.name"],
            ["ann", "spiking"],
        ),
        # What varies with the environment alone tells no settings apart.
        (
            [{}, {"env": "pendulum", "settings": {"algo.batch_size": 64}}],
            ["algo.name", "actor.name", "neuron.name", "bn.name"],
            ["td3, spiking, lif, carebn"],
        ),
        (
            [{}, {"settings": {"total_steps": 5, "device": "cuda", "tracking.mode": "online"}}],
            ["algo.name", "actor.name", "neuron.name", "bn.name"],
            ["td3, spiking, lif, carebn"],
        ),
    ],
)
def test_default_grouping(
    tmp_path: Path, variants: list[dict[str, Any]], keys: list[str], names: list[str]
) -> None:
    for number, variant in enumerate(variants):
        write_runs(tmp_path / str(number), **variant)
    runs = find_runs([tmp_path])
    assert grouping_keys(runs) == keys
    groups = group_runs(runs, keys)
    assert list(groups) == names
    assert sum(len(members) for members in groups.values()) == 2 * len(variants)


def test_by_takes_the_short_name_and_says_what_it_pools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "a")
    write_runs(tmp_path / "b", settings={"algo.batch_size": 64})
    write_runs(tmp_path / "c", bn="vanilla", settings={"algo.batch_size": 64})
    assert main([str(tmp_path), "--by", "bn", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "grouped by bn.name" in printed
    assert "note: carebn: pools runs that differ in algo.batch_size" in printed
    assert "vanilla: pools" not in printed
