"""The command that writes a run's actor for other tools."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from snnrl.deploy.runtime import load
from snnrl.evaluate import main as evaluate
from snnrl.export import FORMATS, main
from snnrl.run_format.done import check_sealed
from tests.experiment.helpers import folder_of, train

SHORT = ["evaluation.episodes=1", "evaluation.max_episode_steps=15", "total_steps=30"]
SPIKING = ["env=pendulum", "kernel=naive", *SHORT]
EXTRA = {"nir": "nir", "onnx": "onnx"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    assert train(results, *SPIKING) == 0
    return folder_of(results, *SPIKING).path


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "seed-0"))


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "hub"])
def test_each_format(kind: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if kind in EXTRA:
        pytest.importorskip(EXTRA[kind])
    assert main([str(copy), "--format", kind, "--episodes", "2"]) == 0
    out = capsys.readouterr().out
    for ending in FORMATS[kind]:
        assert (copy / f"policy.{ending}").stat().st_size > 100
        assert f"wrote {copy / f'policy.{ending}'} (" in out
    assert re.search(r"^[\d,]+ spikes compared with the agent's: equal but for \d+ neur", out, re.M)
    returns = re.findall(r"^(agent|exported): return (\S+), sd", out, re.M)
    assert [name for name, _ in returns] == ["agent", "exported"]
    assert float(returns[0][1]) == pytest.approx(float(returns[1][1]), abs=0.02)
    check_sealed(copy)


def test_8_bits(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "folder"
    arguments = ["--format", "numpy", "--bits", "8", "--episodes", "1", "--out", str(out)]
    assert main([str(copy), *arguments]) == 0
    said = capsys.readouterr().out
    assert "exported, 8 bits: return " in said
    steps = said.split("best_model.zip after ")[1].split(" ")[0]
    assert [path.name for path in out.iterdir()] == ["policy_8bit.npz"]
    policy = load(out / "policy_8bit.npz")
    assert policy.layers[0].weight.dtype == np.int8
    assert policy.about["of"] == f"Pendulum-v1, td3, {steps} steps"


def test_a_folder_for_a_hub(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[str, str, list[str]]] = []
    api = SimpleNamespace(
        create_repo=lambda name, exist_ok: None,
        upload_folder=lambda repo_id, folder_path, allow_patterns, commit_message: sent.append(
            (repo_id, folder_path, allow_patterns)
        ),
    )
    package = SimpleNamespace(get_token=lambda: "token", HfApi=lambda: api)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    provenance = json.loads((copy / "provenance.json").read_text())
    provenance["git"] = {"revision": "abc", "diff": "PASSWORD", "untracked": {"a": "PASSWORD"}}
    (copy / "provenance.json").write_text(json.dumps(provenance))
    (copy / "hub").mkdir()
    (copy / "hub" / ".env").write_text("PASSWORD")
    arguments = ["--format", "hub", "--upload", "me/agent", "--episodes", "1"]
    assert main([str(copy), *arguments]) == 0
    hub = copy / "hub"
    assert {path.name for path in hub.iterdir()} >= {
        *("README.md", "policy.npz", "best_model.zip", "config.yaml", "provenance.json"),
        *("cost.csv", "curve.png"),
    }
    text = (hub / "README.md").read_text()
    assert "TD3, lif, bn=carebn on Pendulum-v1" in text and "policy.npz" in text
    ((name, folder, files),) = sent
    assert (name, folder) == ("me/agent", str(hub))
    assert set(files) == {path.name for path in hub.iterdir()} - {".env"}
    for file in files:
        content = (hub / file).read_bytes()
        assert b"PASSWORD" not in content and str(copy.parent).encode() not in content, file
    assert "Revision abc" in text
    assert "uploaded to https://huggingface.co/me/agent" in capsys.readouterr().out
    assert load(hub / "policy.npz").observation_shape == (3,)
    # The folder is one that the other commands read.
    assert evaluate([str(hub), "--episodes", "1"]) == 0


def test_a_link_is_not_published(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "private").mkdir()
    (copy / "hub").symlink_to(tmp_path / "private")
    refused([str(copy), "--format", "hub"], "is a link; expected a folder of its own", capsys)
    (copy / "hub").unlink()
    (copy / "best_model.zip").rename(tmp_path / "model.zip")
    (copy / "best_model.zip").symlink_to(tmp_path / "model.zip")
    assert main([str(copy), "--format", "hub", "--episodes", "1"]) == 2
    assert "best_model.zip: is a link" in capsys.readouterr().err
    assert not (copy / "hub").exists()


def refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("error: ") and words in line
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--format", "nirr"],
            "--format=nirr: expected one of nir, onnx, numpy, c, hub; did you mean",
        ),
        (["--format", "c", "--target", "norse"], "--target norse: is for --format nir"),
        (["--format", "nir", "--target", "nors"], "did you mean 'norse'?"),
        (["--format", "nir", "--target", "rockpool"], "--target rockpool: its neurons lose"),
        (["--format", "onnx", "--bits", "8"], "--bits 8: is for --format numpy or c"),
        (["--format", "c", "--upload", "me/x"], "--upload me/x: is for --format hub"),
        (["--format", "c", "--bits", "4"], "--bits 4: expected 8"),
        (["--format", "c", "--episodes", "0"], "--episodes 0: expected at least 1"),
        (["--format", "c", "--seed", "-1"], "--seed -1: expected at least 0"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(
    arguments: list[str], words: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(copy.iterdir())
    refused([str(copy), *arguments], words, capsys)
    assert sorted(copy.iterdir()) == before


def test_no_format(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused([str(copy)], "arguments are required: --format", capsys)


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused([str(tmp_path), "--format", "c"], str(tmp_path), capsys)


def test_a_place_that_is_none(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(copy), "--format", "c", "--out", str(copy / "config.yaml")]
    refused(arguments, "expected a folder to write to", capsys)


def test_an_ordinary_actor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["env=pendulum", "actor=ann", "kernel=naive", *SHORT]
    assert train(tmp_path, *settings) == 0
    capsys.readouterr()
    folder = folder_of(tmp_path, *settings).path
    refused([str(folder), "--format", "c"], "actor=ann has no spikes; expected", capsys)


def test_an_agent_that_does_not_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [*SPIKING, "bn=layernorm", "bn.recalibrate_every=null"]
    assert train(tmp_path, *settings) == 0
    capsys.readouterr()
    folder = folder_of(tmp_path, *settings).path
    before = sorted(folder.iterdir())
    assert main([str(folder), "--format", "c"]) == 2
    assert "error: fold: layers.0 has LayerNorm" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("kind", EXTRA)
def test_a_package_that_is_missing(
    kind: str, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, EXTRA[kind], None)
    assert main([str(copy), "--format", kind]) == 2
    assert f"expected pip install 'snnrl[{kind}]'" in capsys.readouterr().err
    assert not list(copy.glob("policy.*"))


def test_a_run_that_is_not_done(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "DONE").unlink()
    (copy / "model.zip").unlink()
    assert main([str(copy), "--format", "c", "--episodes", "1"]) == 0
    assert "is unfinished" in capsys.readouterr().out
    refused([str(copy), "--format", "c", "--model", "last"], "--model best is there", capsys)
