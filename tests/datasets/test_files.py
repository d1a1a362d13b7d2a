"""Data sets that are read from files, of files that the tests write."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.classify import main
from snnrl.data import load_data
from snnrl.data.fetch import from_folder
from snnrl.errors import UserError

GENERATOR = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    load_data.cache_clear()
    yield
    load_data.cache_clear()


@pytest.fixture
def vision() -> Any:
    try:
        import torchvision.datasets
    except (ImportError, RuntimeError):
        pytest.skip("torchvision is not installed, or is a build for another torch")
    return torchvision.datasets


def write_idx(file: Path, values: np.ndarray, *, zipped: bool = False) -> None:
    """An idx file of bytes: magic number, shape, values."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    if zipped:
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
    else:
        file.write_bytes(content)


def write_mnist(root: Path, train: int = 40, test: int = 16, top: int = 10) -> list[np.ndarray]:
    written = []
    for name, n in (("train", train), ("t10k", test)):
        images = GENERATOR.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = np.arange(n) % top
        write_idx(root / "MNIST" / "raw" / f"{name}-images-idx3-ubyte", images)
        write_idx(root / "MNIST" / "raw" / f"{name}-labels-idx1-ubyte", labels)
        written += [images, labels]
    return written


def write_cifar(vision: Any, monkeypatch: pytest.MonkeyPatch, root: Path) -> list[np.ndarray]:
    """Batches of four images; their sums take the place of the published ones."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    written, sums = [], {}
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]
    for name in names:
        images = GENERATOR.integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        labels = GENERATOR.integers(0, 10, 4).tolist()
        content = pickle.dumps(
            {"data": images, "labels": labels, "label_names": list("abcdefghij")}
        )
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
        written += [images.reshape(4, 3, 32, 32), np.array(labels)]
    cifar = vision.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(cifar, "meta", meta)
    return written


def test_mnist(vision: Any, tmp_path: Path) -> None:
    images, labels, tested, classes = write_mnist(tmp_path)
    data = load_data("mnist", str(tmp_path))
    np.testing.assert_array_equal(data.train.inputs[:, 0], images)
    np.testing.assert_array_equal(data.train.labels, labels)
    np.testing.assert_array_equal(data.test.inputs[:, 0], tested)
    np.testing.assert_array_equal(data.test.labels, classes)
    assert data.observation_space.shape == (1, 28, 28)


def test_cifar10(vision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_cifar(vision, monkeypatch, tmp_path)
    data = load_data("cifar10", str(tmp_path))
    assert data.train.inputs.shape == (20, 3, 32, 32)
    np.testing.assert_array_equal(data.train.inputs, np.concatenate(written[:10:2]))
    np.testing.assert_array_equal(data.train.labels, np.concatenate(written[1:10:2]))
    np.testing.assert_array_equal(data.test.inputs, written[10])


def test_a_damaged_batch_is_refused(
    vision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(vision, monkeypatch, tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"changed")
    with pytest.raises(UserError, match=r"^data.root=.*: cifar10 in .* is damaged or not whole"):
        load_data("cifar10", str(tmp_path))


def test_a_label_outside_the_classes_is_refused(
    vision: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path / "data", top=11)
    results = tmp_path / "results"
    given = [f"data.root={tmp_path}/data", "data.examples=40", "algo.batch_size=8"]
    assert main(["data=mnist", *given, f"results_dir={results}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mnist: label 10 of example 10 of its training split" in line
    assert not results.exists()


def test_a_set_that_is_not_there_names_its_folder(tmp_path: Path) -> None:
    def load(place: str, fetch: bool) -> None:
        if fetch:
            (Path(place) / "MNIST" / "raw").mkdir(parents=True)
        raise RuntimeError("no network\nmore")

    root = tmp_path / "new" / "data"
    with pytest.raises(UserError) as refused:
        from_folder(str(root), "mnist", "MNIST", load)
    assert str(refused.value) == (
        f"data.root={root}: mnist is not there and cannot be fetched (no network more); expected "
        f"its files in {root / 'MNIST'}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_half_set_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    asked = []

    def load(place: str, fetch: bool) -> None:
        asked.append(fetch)
        raise RuntimeError("no labels")

    with pytest.raises(UserError, match="is damaged or not whole"):
        from_folder(str(tmp_path), "mnist", "MNIST", load)
    assert asked == [False]
    assert (tmp_path / "MNIST").is_dir()


def test_a_fetch_that_fails_leaves_the_files_of_others(tmp_path: Path) -> None:
    root = tmp_path / "results" / "data"

    def load(place: str, fetch: bool) -> None:
        if fetch:
            (tmp_path / "results" / "run.csv").write_text("a run")
            (root / "cifar").mkdir()
        raise RuntimeError("no network")

    with pytest.raises(UserError, match="cannot be fetched"):
        from_folder(str(root), "mnist", "MNIST", load)
    assert (tmp_path / "results" / "run.csv").read_text() == "a run"
    assert [path.name for path in root.iterdir()] == ["cifar"]


def test_what_is_fetched_is_loaded_from_its_place(tmp_path: Path) -> None:
    def load(place: str, fetch: bool) -> str:
        file = Path(place) / "MNIST" / "labels"
        if fetch:
            assert not (tmp_path / "data" / "MNIST").exists()
            file.parent.mkdir()
            file.write_text("digits")
            (Path(place) / "archive.tar.gz").write_text("")
        return file.read_text()

    root = tmp_path / "data"
    assert from_folder(str(root), "mnist", "MNIST", load) == "digits"
    assert [path.name for path in root.iterdir()] == ["MNIST"]
