"""The command that converts the ordinary actor of a run."""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from omegaconf import OmegaConf

from snnrl.agents import convert as convert_agent
from snnrl.convert import OBSERVATIONS
from snnrl.convert import main as convert
from snnrl.evaluate import main as evaluate
from snnrl.run_format.done import check_sealed
from tests.experiment.helpers import folder_of, train

SHORT = ["evaluation.episodes=1", "evaluation.max_episode_steps=15", "total_steps=30"]
CONTINUOUS = ["env=pendulum", "actor=ann", *SHORT]
DISCRETE = [
    *("env=cartpole", "algo=dqn", "actor=ann", "bn=vanilla", "bn.recalibrate_every=null"),
    *SHORT,
]


FEW = ["--observations", "60"]


def main(arguments: list[str]) -> int:
    """Return the exit status of a conversion whose thresholds take no seconds."""
    return convert(arguments if "--observations" in arguments else [*arguments, *FEW])


def finished(folder: Path, settings: list[str]) -> Path:
    assert train(folder, *settings) == 0
    return folder_of(folder, *settings).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("results"), CONTINUOUS)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "seed-0"))


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_returns_over_time_steps(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(copy), "--time-steps", "20,4,4", "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    rows = table(copy / "conversion.csv")
    kinds = [(row["time_steps"], row["correction"]) for row in rows]
    assert kinds == [("", ""), ("4", "0.0"), ("20", "0.0"), ("4", "1.0"), ("20", "1.0")]
    assert {row["episodes"] for row in rows} == {"2"}
    differences = [float(row["action_difference"]) for row in rows]
    assert differences[0] == 0 and differences[1] > differences[2] > 0
    # Carried residuals change actions.
    assert differences[3] != differences[1]
    assert f"wrote {copy / 'conversion.csv'}" in out
    printed = [float(x) for x in re.findall(r": return (\S+?),", out)]
    assert printed == pytest.approx([float(row["return_mean"]) for row in rows], abs=0.006)
    picture = matplotlib.image.imread(copy / "conversion.png")
    assert picture.shape[0] > 300 and picture.std() > 0.05
    # The ordinary network plays the episodes that ``evaluate`` plays.
    assert evaluate([str(copy), "--episodes", "2"]) == 0
    assert f"return {printed[0]:.2f}, sd" in capsys.readouterr().out
    check_sealed(copy)
    (share,) = {row["share_above_threshold"] for row in rows}
    line = f"thresholds from 60 observations: {100 * float(share):.3g} % of the activations in "
    assert out.splitlines()[2].startswith(line)


def test_thresholds_do_not_depend_on_the_episodes_played(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def spy(agent: Any, observations: np.ndarray) -> Any:
        found.append(observations)
        return convert_agent(agent, observations)

    monkeypatch.setattr("snnrl.experiment.conversion.convert", spy)
    for episodes, observations in (("1", "60"), ("3", "70")):
        asked = ["--time-steps", "2", "--episodes", episodes, "--observations", observations]
        assert main([str(copy), *asked]) == 0
    assert [len(each) for each in found] == [60, 70]
    assert np.array_equal(found[0], found[1][:60])
    # As CRPI's code, unless told otherwise.
    assert OBSERVATIONS == 10_000


def test_the_same_twice_elsewhere_and_without_an_interval(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "place"
    contents = []
    asked = [str(copy), "--time-steps", "3", "--episodes", "1", "--correction", "0.5"]
    for seed in ("1", "1", "2"):
        assert main([*asked, "--seed", seed, "--out", str(out)]) == 0
        contents.append([(out / f"conversion.{kind}").read_bytes() for kind in ("csv", "png")])
    assert contents[0] == contents[1] != contents[2]
    assert not (copy / "conversion.csv").exists()
    rows = table(out / "conversion.csv")
    assert [row["correction"] for row in rows] == ["", "0.0", "0.5"]
    assert all(math.isnan(float(row["return_low"] or "nan")) for row in rows)
    assert "interval" not in capsys.readouterr().out


@pytest.mark.slow
def test_without_correction_only_one_curve(copy: Path) -> None:
    asked = ["--time-steps", "3", "--episodes", "1", "--correction", "0"]
    assert main([str(copy), *asked]) == 0
    assert [row["correction"] for row in table(copy / "conversion.csv")] == ["", "0.0"]


@pytest.mark.slow
def test_a_normalised_q_network(tmp_path: Path) -> None:
    folder = finished(tmp_path, DISCRETE)
    assert main([str(folder), "--time-steps", "2,400", "--episodes", "3"]) == 0
    _, few, many, *_ = table(folder / "conversion.csv")
    # The share of actions that differ.
    assert 0 <= float(many["action_difference"]) < 0.1
    assert float(many["action_difference"]) <= float(few["action_difference"]) <= 1


def files(folder: Path) -> dict[str, float]:
    return {str(p.relative_to(folder)): os.stat(p).st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--time-steps", "0"], ["--time-steps 0", "above 0"]),
        (["--time-steps", "5,-1"], ["--time-steps 5,-1", "above 0"]),
        (["--time-steps", "5,,6"], ["--time-steps 5,,6", "commas"]),
        (["--time-steps", "2.5"], ["--time-steps 2.5"]),
        (["--time-steps", "9" * 5_000], ["--time-steps 999", "at most 10000"]),
        (["--time-steps", "5,10001"], ["--time-steps 5,10001", "at most 10000"]),
        (["--observations", "0"], ["--observations 0", "at least 1"]),
        (["--observations", "9" * 5_000], ["--observations", "999"]),
        (["--correction", "1.5"], ["--correction 1.5", "0 to 1"]),
        (["--correction", "nan"], ["--correction nan", "0 to 1"]),
        (["--correction", "much"], ["--correction", "much"]),
        (["--episodes", "0"], ["--episodes 0", "at least 1"]),
        (["--seed", "-1"], ["--seed -1", "at least 0"]),
        (["--model", "worst"], ["--model", "best"]),
        (["--kernel", "naive"], ["--kernel", "--help"]),
    ],
)
def test_mistakes(
    arguments: list[str], words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    assert main([str(run), *arguments]) == 2
    assert_one_line(capsys, *words)
    assert files(run) == before


def assert_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("out", ["there", "there/below"])
def test_no_place_for_the_files(
    out: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("a file")
    assert main([str(copy), "--out", str(tmp_path / out)]) == 2
    assert_one_line(capsys, f"--out {tmp_path / out}", "expected a folder to write to")


@pytest.mark.parametrize("name", ["conversion.csv", "conversion.png"])
def test_a_folder_in_the_place_of_a_file(
    name: str, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    assert main([str(copy), "--out", str(out)]) == 2
    assert_one_line(capsys, f"--out {out}", str(out / name), "is a folder")
    assert [path.name for path in out.iterdir()] == [name]


def test_a_folder_that_cannot_be_written_to(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by its mode, as root writes everywhere.
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != copy and may(path, mode))
    assert main([str(copy)]) == 2
    assert_one_line(capsys, "--out", str(copy))


def written(folder: Path, config: Path) -> Path:
    """A run folder with another run's configuration, before anything of its model is read."""
    shutil.copy(config, folder / "config.yaml")
    (folder / "DONE").unlink()
    return folder


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["env=pendulum"], ["actor=spiking", "expected a run of actor=ann"]),
        (["env=cartpole", "algo=dqn"], ["actor=spiking", "expected a run of actor=ann"]),
        (["env=pendulum", "algo=ppo"], ["actor=spiking", "expected a run of actor=ann"]),
    ],
)
def test_a_spiking_run(
    settings: list[str], words: list[str], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder_of(copy, *settings).cfg
    assert config.actor.name == "spiking"
    other = copy.parent / "config.yaml"
    other.write_text(OmegaConf.to_yaml(config, resolve=True))
    folder = written(copy, other)
    before = files(folder)
    assert main([str(folder)]) == 2
    assert_one_line(capsys, str(folder), *words)
    assert files(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["algo=ppo", "algo.n_steps=15", "algo.batch_size=5"],
            ["mlp_extractor.policy_net.1 (Tanh)", "ReLU"],
        ),
        (["bn=layernorm"], ["(LayerNorm)", "batch normalisations"]),
    ],
)
def test_an_actor_that_cannot_be_converted(
    settings: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished(tmp_path, [*CONTINUOUS, *settings])
    capsys.readouterr()
    before = files(folder)
    assert main([str(folder), "--episodes", "1"]) == 2
    assert_one_line(capsys, *words)
    assert files(folder) == before


def test_not_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert main([str(folder)]) == 2
        assert_one_line(capsys, str(folder), "config.yaml")
    assert main([]) == 2
    assert_one_line(capsys, "folder")


def test_no_model(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "model.zip").unlink()
    assert main([str(copy), "--model", "last"]) == 2
    assert_one_line(capsys, str(copy / "model.zip"), "not there")
    (copy / "best_model.zip").write_bytes(b"half a model")
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy / "best_model.zip"))
    assert not (copy / "conversion.csv").exists()


def test_an_earlier_table_stays_where_a_conversion_fails(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "conversion.csv").write_text("earlier")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snnrl.experiment.evaluation.Evaluator.run", fail)
    assert main([str(copy)]) == 130
    assert (copy / "conversion.csv").read_text() == "earlier"
    assert not list(copy.glob(".*tmp*"))
    assert np.all([p.name != "conversion.png" for p in copy.iterdir()])
