"""DVS-CIFAR10 through tonic, of recordings that the tests write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from snnrl.classify import main
from snnrl.data import DataSet, dvs_cifar10, load_data
from snnrl.data.events import event_frames
from snnrl.errors import UserError
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.nodes import CLASSIFY
from snnrl.experiment.folder.run_folder import RunFolder
from tests.datasets.aedat4 import write_aedat4
from tests.experiment.helpers import rows_of

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    load_data.cache_clear()
    yield
    load_data.cache_clear()


@pytest.fixture
def tonic() -> Any:
    pytest.importorskip("aedat")
    return pytest.importorskip("tonic")


def recording(label: int, number: int) -> np.ndarray:
    """Rows of t, x, y and polarity: more events on the left for even classes."""
    generator = np.random.default_rng([label, number])
    rows = generator.integers(0, [900, 128, 128, 2], (150, 4))
    rows[:100, 1] = rows[:100, 1] // 2 + 64 * (label % 2)
    return rows[np.argsort(rows[:, 0])] + [5_000_000_000, 0, 0, 0]


def write(root: Path, each: int = 10, classes: list[str] = CLASSES) -> None:
    for label, name in enumerate(classes):
        for i in range(each):
            file = root / "CIFAR10DVS" / name / f"cifar10_{name}_{i}.aedat4"
            write_aedat4(file, recording(label, i))


def load(root: Path, frames: int = 3, size: int = 16) -> DataSet:
    return load_data("dvs_cifar10", str(root), frames=frames, size=size)


def test_the_recordings_are_read(tonic: Any, tmp_path: Path) -> None:
    write(tmp_path)
    data = load(tmp_path)
    assert data.observation_space.shape == (3, 2, 16, 16)
    assert [len(split.labels) for split in (data.train, data.test)] == [90, 10]
    assert sorted(data.test.labels) == list(range(10))
    written = {}
    for label in range(10):
        for i in range(10):
            t, x, y, on = recording(label, i).T
            frames = event_frames(t, x, y, on, frames=3, size=16, sensor=128)
            written[frames.tobytes()] = label
    assert len(written) == 100
    for split in (data.train, data.test):
        labels = [written.pop(frames.tobytes()) for frames in split.inputs]
        assert labels == split.labels.tolist()
    assert not written
    load_data.cache_clear()
    np.testing.assert_array_equal(load(tmp_path).train.inputs, data.train.inputs)


def test_the_writers_format_is_what_tonic_reads(tonic: Any, tmp_path: Path) -> None:
    """By tonic's own data set, whose files are these."""
    write(tmp_path, each=1)
    (tmp_path / "CIFAR10DVS" / "CIFAR10DVS.zip").touch()
    sets = tonic.datasets.CIFAR10DVS
    with patch.object(sets, "_folder_contains_at_least_n_files_of_type", return_value=True):
        theirs = sets(str(tmp_path))
    assert len(theirs) == 10
    events, label = theirs[7]
    rows = np.stack([events[name].astype(int) for name in ("t", "x", "y", "p")], 1)
    np.testing.assert_array_equal(rows, recording(7, 0))
    assert label == 7


def test_a_damaged_recording_is_named(tonic: Any, tmp_path: Path) -> None:
    write(tmp_path, each=1)
    file = tmp_path / "CIFAR10DVS" / "cat" / "cifar10_cat_0.aedat4"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(
        f"data.root={tmp_path}: dvs_cifar10: {file} cannot be read"
    )
    assert "\n" not in str(refused.value)


def test_a_set_that_is_not_there_names_its_folder(
    tonic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(self: Any) -> None:
        Path(self.location_on_system).mkdir(parents=True)
        raise OSError("no network")

    monkeypatch.setattr(tonic.datasets.CIFAR10DVS, "download", download)
    with pytest.raises(UserError) as refused:
        load(tmp_path / "new")
    assert str(refused.value) == (
        f"data.root={tmp_path}/new: dvs_cifar10 is not there and cannot be fetched (no network); "
        f"expected its files in {tmp_path}/new/CIFAR10DVS"
    )
    assert list(tmp_path.iterdir()) == []


def command(root: Path, results: Path, *changes: str) -> list[str]:
    small = {
        "data": "dvs_cifar10",
        "data.root": str(root),
        "data.examples": "80",
        "data.size": "8",
        "conv": "none",
        "kernel": "naive",
        "actor.hidden": "[8]",
        "actor.time_steps": "2",
        "algo.batch_size": "16",
        "epochs": "1",
        "tracking": "none",
        "results_dir": str(results),
    }
    if "actor=ann" in changes:
        del small["actor.time_steps"]
    given = small | dict(change.split("=", 1) for change in changes)
    return [f"{key}={value}" for key, value in given.items()]


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *changes: str) -> str:
    results = tmp_path / "results"
    capsys.readouterr()
    assert main(command(tmp_path, results, *changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not results.exists()
    return line


def test_a_label_outside_the_classes_is_refused(
    tonic: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, each=1, classes=[*CLASSES, "fish"])
    line = refusal(capsys, tmp_path)
    assert "dvs_cifar10: label fish, the folder of " in line
    assert line.endswith(f"expected one of {', '.join(CLASSES)}")


def test_part_of_the_set_is_refused(
    tonic: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, each=6)
    line = refusal(capsys, tmp_path)
    assert line.startswith("error: data.examples=80: dvs_cifar10 has 50 to learn from")


@pytest.mark.parametrize("actor", ["spiking", pytest.param("ann", marks=pytest.mark.slow)])
def test_a_run(actor: str, tonic: Any, tmp_path: Path) -> None:
    write(tmp_path)
    given = command(tmp_path, tmp_path / "results", f"actor={actor}")
    with patch("snnrl.experiment.run.seconds_for", return_value=1.0):
        assert main(given) == 0
    run = RunFolder(compose_config(given, CLASSIFY))
    rows = rows_of(run, "evaluations")
    assert [(row["timesteps"], row["length"]) for row in rows] == [("0", "10"), ("80", "10")]


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["data.frames=3"], "data.frames=3: actor.time_steps is 2; expected as many"),
        (["data.size=129"], "data.size=129: "),
        (["actor=ann", "conv=vgg9"], "conv=vgg9: an ordinary network convolves images, and data="),
        (["encoder=direct"], "encoder=direct: takes inputs without a time axis, not an input of "),
        (["conv=nature"], "conv.kernels=[8, 4, 3]: layer 2 sees images of 1 x 1"),
        (["data=digits", "encoder=frames"], "encoder=frames: takes frames (T, C, H, W), not "),
    ],
)
def test_a_mistake_is_one_line(
    given: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without tonic."""

    def load(root: str, frames: int, size: int) -> DataSet:
        split = dvs_cifar10.Split(
            np.zeros((80, frames, 2, size, size), np.uint8), np.zeros(80, int)
        )
        return DataSet("dvs_cifar10", 10, split, split)

    monkeypatch.setattr(dvs_cifar10, "load", load)
    if "data=digits" in given:
        pytest.importorskip("sklearn")
        assert main([*given, f"results_dir={tmp_path}/results"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
    else:
        line = refusal(capsys, tmp_path, *given)
    assert line.startswith(f"error: {words}")


@pytest.mark.parametrize("missing", ["tonic.datasets", "aedat"])
def test_without_tonic(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(
        UserError, match=r"^data=dvs_cifar10: tonic .*pip install 'snnrl\[events\]'$"
    ):
        load(tmp_path)


def test_frames_are_as_many_as_time_steps() -> None:
    cfg = compose_config(["data=dvs_cifar10", "actor.time_steps=8"], CLASSIFY)
    assert (cfg.data.frames, cfg.encoder.name, cfg.conv.name) == (8, "frames", "vgg9")
