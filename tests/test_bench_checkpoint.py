"""The measurement of what checkpoints cost runs and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from scripts.bench import checkpoint


@pytest.mark.slow
def test_it_measures_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, disk = tmp_path / "out", tmp_path / "disk"
    disk.mkdir()
    settings = ["env=pendulum", "kernel=naive"]
    arguments = ["--quick", "--out", str(out), "--disk", str(disk), *settings]
    assert checkpoint.main(arguments) == 0
    page, data = sorted(out.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert page.read_text().strip() in capsys.readouterr().out
    found = json.loads(data.read_text())
    assert found["transitions"] == 2000
    assert len(found["save_seconds"]) == checkpoint.SAVES
    assert found["share"] == median(found["save_seconds"]) / found["training_seconds"]
    assert found["bytes"] <= found["bytes_said"] + 60 * 2500
    assert list(disk.iterdir()) == []
