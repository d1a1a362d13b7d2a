"""``python -m snnrl.classify``: the same run as that of the train command, of a data set."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import yaml

from snnrl import compare, evaluate, reproduce
from snnrl.agents import Classifier
from snnrl.classify import main
from snnrl.data import DataSet, DataStream, Split, digits, load_data
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.nodes import CLASSIFY
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.nn.layers import SpikingLayer
from tests.experiment.helpers import assert_same_tables_and_models, rows_of, steps_in

pytest.importorskip("sklearn")

SMALL = [
    "kernel=naive",
    "actor.hidden=[8]",
    "actor.time_steps=2",
    "algo.batch_size=8",
    "data.examples=40",
    "epochs=2",
    "checkpoint.every=24",
    "tracking=none",
]

CARE = ["bn=carebn", "bn.recalibrate_every=40", "bn.recalibrate_batches=2"]


def classify(results_dir: Path, *changes: str) -> int:
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        return main(command(results_dir, *changes))


def command(results_dir: Path, *changes: str) -> list[str]:
    small = [text for text in SMALL if "actor=ann" not in changes or "time_steps" not in text]
    by_key = {
        text.partition("=")[0]: text for text in (*small, f"results_dir={results_dir}", *changes)
    }
    return list(by_key.values())


def folder_of(results_dir: Path, *changes: str) -> RunFolder:
    return RunFolder(compose_config(command(results_dir, *changes), CLASSIFY))


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> str:
    capsys.readouterr()
    assert main(command(tmp_path / "results", *arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not (tmp_path / "results").exists()
    return line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("results")
    assert classify(folder, *CARE) == 0
    return folder


def test_a_run_is_a_run_folder(results: Path) -> None:
    run = folder_of(results, *CARE)
    assert run.path.parent.name.startswith("classifier-lif-carebn-")
    assert run.path.parents[1].name == "digits"
    rows = rows_of(run, "evaluations")
    assert [int(row["timesteps"]) for row in rows] == [0, 40, 80]
    assert {(row["episode"], row["length"]) for row in rows} == {("0", "360")}
    assert all(0 <= float(row["return"]) <= 100 for row in rows)
    last = rows_of(run, "progress")[-1]
    assert {"train/loss", "train/accuracy", "firing_rate/layer0"} <= last.keys()
    assert {row["data"] for row in rows_of(run, "statistics_error")} == {"evaluation", "data"}
    assert {row["phase"] for row in rows_of(run, "statistics_error")} == {"before", "after"}
    names = {path.name for path in run.path.iterdir()}
    assert {"DONE", "model.zip", "best_model.zip", "curve.png", "checkpoint"} <= names
    start = (run.path / "config.yaml").read_text().splitlines()[0]
    assert start.startswith("# classifier-spiking-lif-carebn-naive")
    overrides = yaml.safe_load((run.path / "overrides.yaml").read_text())
    assert overrides == command(results, *CARE)


def test_the_same_command_again_says_that_it_is_done(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(results, *CARE) == 0
    assert "already done (80 steps)" in capsys.readouterr().out
    assert classify(results, *CARE, "epochs=1") == 0
    assert "already done: 80 steps, more than epochs=1" in capsys.readouterr().out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """Finished runs by their settings."""
    folder = tmp_path_factory.mktemp("whole")

    def run(*changes: str) -> RunFolder:
        assert classify(folder, *changes) == 0
        return folder_of(folder, *changes)

    return run


METHODS = [
    CARE,
    pytest.param(["encoder=poisson", "bn=bntt", "loss=rate"], marks=pytest.mark.slow),
    pytest.param(["surrogate=learnable", "bn=none"], marks=pytest.mark.slow),
    pytest.param(["actor=ann", "bn=renorm"], marks=pytest.mark.slow),
    pytest.param(["kernel=auto", *CARE], marks=pytest.mark.slow),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_resumes_bit_for_bit(
    method: list[str], whole: Callable[..., RunFolder], tmp_path: Path
) -> None:
    original, calls = Classifier.train, iter(range(100))

    def train(self: Classifier, *given: Any) -> None:
        if next(calls) == 6:
            signal.raise_signal(signal.SIGTERM)
        original(self, *given)

    with patch.object(Classifier, "train", train):
        assert classify(tmp_path, *method) == 143
    ours = folder_of(tmp_path, *method)
    assert steps_in(ours, "evaluations") == [0, 40]
    assert classify(tmp_path, *method) == 0
    assert_same_tables_and_models(ours, whole(*method))


@pytest.mark.slow
def test_a_longer_run_is_the_same_as_one_that_was_asked_for_at_first(
    whole: Callable[..., RunFolder], tmp_path: Path
) -> None:
    assert classify(tmp_path, *CARE, "epochs=1") == 0
    assert classify(tmp_path, *CARE) == 0
    assert_same_tables_and_models(folder_of(tmp_path, *CARE), whole(*CARE))


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["data=digit"], "data=digit: expected one of"),
        (["data.root=/nowhere"], "data.root: expected only with data="),
        (["data.examples=1438"], "data.examples=1438: digits has 1437 to learn from"),
        (["algo.batch_size=41"], "algo.batch_size=41: more than data.examples=40"),
        (["env=hopper"], "env: is a setting of python -m snnrl.train"),
        (["total_steps=9"], "total_steps: is a setting of python -m snnrl.train"),
        (["algo.gamma=0.9"], "algo.gamma: is a setting of python -m snnrl.train"),
        (["epoch=3"], "epoch: no such setting; did you mean 'epochs'?"),
        (["bn@critic.bn=none"], "bn@critic.bn: expected bn=..."),
        (["bn=carebn", "bn.target_stats=hard"], "bn.target_stats=hard: has no effect"),
        (["conv=nature"], "conv.kernels=[8, 4, 3]: layer 2 sees images of 1 x 1"),
        (["conv=minatar", "encoder=population"], "encoder=population: takes a vector"),
        (["actor=ann", "loss=rate"], "loss=rate: has no effect with actor=ann"),
        (["neuron=alif", "kernel=native"], "kernel=native: "),
        (["seed=0,1"], "seed=0,1: has several values; expected -m for a sweep"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: {words}" in refusal(capsys, tmp_path, *given)


def test_data_is_a_setting_of_the_other_command(capsys: pytest.CaptureFixture[str]) -> None:
    from snnrl import train

    assert train.main(["data=digits"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: data: is a setting of python -m snnrl.classify")


@pytest.fixture
def fresh_data() -> Iterator[None]:
    load_data.cache_clear()
    yield
    load_data.cache_clear()


def test_a_label_outside_the_classes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fresh_data: None,
) -> None:
    split = Split(np.zeros((50, 1, 8, 8), np.uint8), np.full(50, 10))
    monkeypatch.setattr(digits, "load", lambda: DataSet("digits", 10, split, split))
    line = refusal(capsys, tmp_path)
    assert line == (
        "error: data=digits: label 10 of example 0 of its training split; expected classes from 0 "
        "to 9"
    )


def test_without_scikit_learn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fresh_data: None,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    line = refusal(capsys, tmp_path)
    assert line.endswith("scikit-learn is not installed; pip install 'snnrl[classify]'")


def test_what_a_setting_is() -> None:
    """Folder of the files and number of epochs are not learned."""
    one = compose_config(["data=mnist"], CLASSIFY)
    other = compose_config(["data=mnist", "data.root=/elsewhere", "epochs=3"], CLASSIFY)
    assert settings_hash(one) == settings_hash(other)
    assert label(one) == label(other) == "classifier-spiking-lif-carebn"
    third = compose_config(["data=mnist", "algo.batch_size=32"], CLASSIFY)
    assert settings_hash(one) != settings_hash(third)
    assert label(third) == "classifier-spiking-lif-carebn-algo.batch_size=32"


@pytest.mark.slow
def test_compare_and_evaluate_read_it(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare.main([str(results), "--out", str(tmp_path), "--format", "svg"]) == 0
    assert "classifier" in capsys.readouterr().out
    assert "accuracy (%)" in (tmp_path / "curves.svg").read_text()
    run = folder_of(results, *CARE)
    assert evaluate.main([str(run.path), "--model", "last"]) == 0
    accuracy = float(rows_of(run, "evaluations")[-1]["return"])
    assert f"accuracy {accuracy:.2f} % of 360 test examples" in capsys.readouterr().out
    for refused in (["--episodes", "3"], ["--seed", "3"], ["--video"]):
        assert evaluate.main([str(run.path), *refused]) == 2
        assert f"error: {refused[0]}: " in capsys.readouterr().err


@pytest.mark.slow
def test_early_exit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify(tmp_path, "bn=bntt", "epochs=1", "encoder=poisson") == 0
    run = folder_of(tmp_path, "bn=bntt", "epochs=1", "encoder=poisson")
    capsys.readouterr()
    assert evaluate.main([str(run.path), "--early-exit=100"]) == 0
    out = capsys.readouterr().out
    assert "early exit below 100: 1 of 2 time steps, 1 saved" in out
    assert out.count("accuracy ") == 3
    assert "accuracy lost " in out


def test_reproduce_makes_it_again(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reproduce.main([str(folder_of(results, *CARE).path)]) == 0
    assert "python -m snnrl.classify " in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = ["-m", *command(tmp_path, "bn=vanilla,none", "epochs=1", "data.examples=8")]
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        assert main(sweep) == 0
        assert len(list(tmp_path.rglob("DONE"))) == 2
        capsys.readouterr()
        assert main(sweep) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 2 skipped"


@pytest.mark.slow
def test_a_sweep_in_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", *command(tmp_path, "seed=0,1", "hydra/launcher=joblib")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "2 runs: 2 done"
    assert "accuracy " in out
    assert len(list(tmp_path.rglob("DONE"))) == 2


def accuracy(**policy: Any) -> float:
    """Of a classifier on digits after ten passes."""
    data = load_data("digits")
    policy = {"encoder": "direct", "bn": "vanilla", "net_arch": [32, 32], **policy}
    stream = DataStream(data, 64, np.random.default_rng(0))
    agent = Classifier("SpikingPolicy", stream, policy_kwargs=policy, seed=0)
    agent.learn(10 * 1437)
    guesses, _ = agent.predict(data.test.inputs, deterministic=True)
    return float(100 * (guesses == data.test.labels).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"kernel": "native"},
        {"kernel": "naive", "surrogate": "learnable"},
        {"encoder": "poisson", "bn": "bntt"},
        {"encoder": "population", "bn": "carebn"},
        {"neuron": "clif", "bn": "tab"},
    ],
)
def test_it_learns(method: dict[str, Any]) -> None:
    assert accuracy(**method) > 80


@pytest.mark.slow
def test_without_a_gradient_through_the_spikes_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = SpikingLayer.forward
    monkeypatch.setattr(SpikingLayer, "forward", lambda layer, x: original(layer, x).detach())
    assert accuracy(kernel="naive") < 75


@pytest.mark.slow
def test_classes_and_images_with_convolutions(tmp_path: Path) -> None:
    assert classify(tmp_path, "conv=minatar", "conv.kernels=[3]", "bn=tdbn") == 0
    with (
        (folder_of(tmp_path, "conv=minatar", "conv.kernels=[3]", "bn=tdbn").path)
        .joinpath("progress.csv")
        .open() as file
    ):
        assert "firing_rate/conv0" in next(csv.reader(file))


def test_an_encoder_of_vectors_is_refused_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"data.root={tmp_path}/none", "conv=minatar", "encoder=population"]
    line = refusal(capsys, tmp_path, "data=mnist", *given)
    assert line.startswith("error: encoder=population: takes a vector of numbers")
    assert list(tmp_path.iterdir()) == []
