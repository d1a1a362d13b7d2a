from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.analysis.statistics import mean_interval
from snnrl.evaluate import main
from snnrl.run_format.done import seal
from tests.experiment.helpers import folder_of, train

RUNS = [
    ["env=inverted_pendulum"],
    ["env=pendulum"],
    ["env=pendulum", "algo=ppo", "algo.n_steps=15", "algo.batch_size=5"],
    ["env=cartpole", "algo=dqn", "neuron=clif"],
]


@pytest.fixture(scope="module", params=RUNS, ids=["td3 inverted pendulum", "td3", "ppo", "dqn"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    path = tmp_path_factory.mktemp("results")
    settings = [*request.param, "evaluation.episodes=1", "total_steps=30"]
    assert train(path, *settings) == 0
    return folder_of(path, *settings).path


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "seed-0"))


@pytest.mark.quick_cases(1)
def test_returns_with_deviation_and_interval(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--episodes", "3"]) == 0
    out = capsys.readouterr().out
    returns = [float(x) for x in re.findall(r"episode \d+: (\S+) in \d+ steps", out)]
    assert len(returns) == 3
    mean, deviation, low, high = [float(x) for x in re.findall(r"-?\d+\.\d+", out.splitlines()[-1])]
    assert mean == pytest.approx(np.mean(returns), abs=0.011)
    assert deviation == pytest.approx(np.std(returns, ddof=1), abs=0.011)
    expected = mean_interval(returns)
    assert (low, high) == pytest.approx(tuple(expected)[2:], abs=0.02)
    assert "best_model.zip after " in out
    assert ("after 0 steps, an untrained network" in out) == ("after 0 steps" in out)


@pytest.mark.slow
def test_the_same_twice_and_other_episodes_by_another_seed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for seed in ("1", "1", "2"):
        assert main([str(run), "--episodes", "2", "--seed", seed, "--model", "last"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert "model.zip after 30 steps" in texts[0]


@pytest.mark.quick_cases(1)
def test_the_last_evaluation_of_the_run_is_had_again(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), "--episodes", "1", "--seed", "0", "--model", "last"]) == 0
    with (run / "evaluations.csv").open(newline="") as file:
        *_, last = (row for row in csv.DictReader(file) if row["episode"] == "0")
    assert f"{float(last['return']):.2f} in {last['length']} steps" in capsys.readouterr().out


@pytest.mark.quick_cases(1)
def test_one_episode_has_no_interval(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--episodes", "1"]) == 0
    assert "no interval" in capsys.readouterr().out


@pytest.mark.quick_cases(1)
def test_a_film(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    status = main([str(copy), "--episodes", "1", "--video"])
    out, err = capsys.readouterr()
    if find_library("EGL") is None:
        # Said in one line; with the library there, anything but a film is a failure.
        assert (status, "cannot render here" in err) == (2, True)
        pytest.skip("no library to render with")
    assert status == 0
    assert f"video: {copy / 'video.mp4'}" in out
    frames = imageio.imread(copy / "video.mp4", plugin="FFMPEG")
    length = int(re.findall(r"in (\d+) steps", out)[0])
    assert len(frames) == length + 1  # the episode that --seed starts, and its first picture
    assert frames.shape[-1] == 3
    assert min(frames.shape[1:3]) > 100
    assert all(frame.max() > 100 and frame.std() > 5 for frame in frames)
    assert not np.array_equal(frames[0], frames[-1])
    assert not list(copy.glob(".video*"))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--episodes", "0"], ["--episodes 0", "at least 1"]),
        (["--episodes", "many"], ["--episodes", "many"]),
        (["--seed", "-1"], ["--seed -1", "at least 0"]),
        (["--model", "worst"], ["--model", "best"]),
        (["--vidoe"], ["--vidoe", "--help"]),
    ],
)
def test_mistakes(
    arguments: list[str], words: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), *arguments]) == 2
    assert_one_line(capsys, *words)


def assert_one_line(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_not_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert main([str(folder)]) == 2
        assert_one_line(capsys, str(folder), "config.yaml")
    assert main([]) == 2
    assert_one_line(capsys, "folder")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("text", ["a: 1", "[]", "a: [", ""])
def test_a_configuration_of_something_else(
    text: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "config.yaml").write_text(text)
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy / "config.yaml"))


@pytest.mark.quick_cases(1)
def test_no_model_yet(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "best_model.zip").unlink()
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy / "best_model.zip"), "yet")


@pytest.mark.quick_cases(1)
def test_a_broken_model(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "best_model.zip").write_bytes(b"half a model")
    assert main([str(copy)]) == 2
    assert_one_line(capsys, str(copy / "best_model.zip"))


@pytest.mark.quick_cases(1)
def test_a_run_from_a_machine_with_a_gpu(copy: Path) -> None:
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("device: auto", "device: cuda"))
    done = json.loads((copy / "DONE").read_text())
    (copy / "DONE").write_text(json.dumps({**done, "files": seal(copy)}))
    assert main([str(copy), "--episodes", "1"]) == 0


@pytest.mark.quick_cases(1)
def test_a_folder_in_the_place_of_the_video(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "video.mp4").mkdir()
    assert main([str(copy), "--episodes", "1", "--video"]) == 2
    seen = capsys.readouterr()
    # Before anything is played.
    assert seen.out == ""
    assert f"--video: expected to write the file {copy / 'video.mp4'}, which is a" in seen.err


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("missing", ["imageio.v2", "imageio_ffmpeg"])
def test_a_missing_package(
    missing: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([str(copy), "--episodes", "1", "--video"]) == 2
    assert_one_line(capsys, "--video", "snnrl[video]")
    assert not list(copy.glob("*.mp4"))


@pytest.mark.quick_cases(1)
def test_a_missing_library(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def render(*_: Any, **__: Any) -> None:
        raise ImportError("cannot load libEGL.so.1\nmore")

    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setattr("gymnasium.wrappers.PassiveEnvChecker.render", render)
    assert main([str(copy), "--episodes", "1", "--video"]) == 2
    assert_one_line(capsys, "--video", "libEGL.so.1", "apt-get install libegl1")
    assert [path.name for path in copy.glob("*.mp4")] + list(copy.glob(".video*")) == []


def test_triton_is_no_choice_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a/folder", "--kernel", "triton"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--kernel" in line and "triton" in line and "native" in line


@pytest.fixture(scope="module")
def bntt_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    settings = ["env=cartpole", "algo=dqn", "bn=bntt", "evaluation.episodes=1", "total_steps=30"]
    settings += ["actor.time_steps=3", "bn.recalibrate_every=null"]
    assert train(path, *settings) == 0
    return folder_of(path, *settings).path


def test_early_exit(bntt_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Gamma starts at one threshold and has hardly moved.
    assert main([str(bntt_run), "--episodes", "3", "--early-exit=2"]) == 0
    out = capsys.readouterr().out
    before, line, after = out.partition("early exit below 2: 1 of 3 time steps, 2 saved\n")
    assert line
    usual, early = (
        [float(x) for x in re.findall(r"episode \d+: (\S+) in \d+ steps", text)]
        for text in (before, after)
    )
    assert len(usual) == len(early) == 3
    lost = mean_interval([a - b for a, b in zip(usual, early, strict=True)])
    assert after.splitlines()[-1] == (
        f"return lost {lost[0]:.2f}, 95 % interval [{lost[2]:.2f}, {lost[3]:.2f}]"
    )


@pytest.mark.quick_cases(1)
def test_what_an_action_costs(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(copy), "--episodes", "2", "--cost"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"wrote {copy / 'cost.csv'}"
    lengths = [int(n) for n in re.findall(r"in (\d+) steps", out)]
    assert f"cost of an action, mean over {sum(lengths):,} observations\n" in out
    with (copy / "cost.csv").open(newline="") as file:
        *layers, total, reference = csv.DictReader(file)
    names = [row["layer"] for row in layers]
    # Of one hidden layer of 8 neurons; a readout of spike counts has no layer before it.
    assert names in (
        ["encoder", "layers.0", "decoder"],
        ["encoder", "layers.0", "layers.1", "decoder"],
    )
    assert (total["layer"], reference["layer"]) == ("total", "ordinary 8")
    for column in ("acs", "macs", "updates", "parameters", "energy_45nm_nj", "bytes_8bit"):
        assert sum(float(row[column]) for row in layers) == pytest.approx(float(total[column]))
    first, inputs = layers[1], int(layers[0]["inputs"])
    dense = int(first["inputs"]) * 8 * int(first["time_steps"])
    assert float(first["dense"]) == dense >= float(first["acs"]) + float(first["effective_macs"])
    assert 0 <= float(first["firing_rate"]) <= 1
    outputs = int(layers[-1]["outputs"])
    assert float(reference["macs"]) == inputs * 8 + 8 * outputs
    assert float(reference["energy_measured_nj"]) == pytest.approx(
        3.97e-3 * float(reference["macs"])
    )


@pytest.mark.quick_cases(1)
def test_a_folder_in_the_place_of_the_costs(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "cost.csv").mkdir()
    assert main([str(copy), "--episodes", "1", "--cost"]) == 2
    assert_one_line(capsys, f"--cost: expected to write the file {copy / 'cost.csv'}")


def test_what_an_action_costs_with_early_exit(
    bntt_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bntt_run), "--episodes", "1", "--cost", "--early-exit=2"]) == 0
    out = capsys.readouterr().out
    (early,) = re.findall(r"early exit, 1 time steps: 0 ACs, (\S+) MACs, ", out)
    (whole,) = (line.split() for line in out.splitlines() if line.startswith("total "))
    # Direct coding: a product for each input and step.
    assert 0 < int(early.replace(",", "")) < int(whole[4].replace(",", ""))


def test_early_exit_that_saves_nothing_says_why(
    bntt_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bntt_run), "--episodes", "1", "--early-exit"]) == 0
    out = capsys.readouterr().out
    assert out.count("episode 0: ") == 1
    *_, said, why = out.splitlines()
    assert said == "early exit below 0.1: 3 of 3 time steps, 0 saved"
    assert re.match(r"  no step is left out: in step [123], .* of (0\.9|1\.0)\d thresholds", why)


@pytest.mark.quick_cases(1)
def test_early_exit_without_bntt(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "--early-exit=0.2"]) == 2
    assert_one_line(capsys, "early exit", "PooledBatchNorm", "bn=bntt")


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("limit", ["0", "-1", "nan", "much"])
def test_early_exit_with_a_limit_that_is_none(
    limit: str, bntt_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bntt_run), f"--early-exit={limit}"]) == 2
    assert_one_line(capsys, "early" if limit != "much" else "--early-exit", limit)
