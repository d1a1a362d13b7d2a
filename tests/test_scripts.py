"""The scripts that sweep, on tiny settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiment.helpers import SMALL

TOP = Path(__file__).parent.parent
TAKEN = ("env=", "tracking", "bn.", "actor.time", "total_steps")
"""Settings of the scripts' own, and such as not all agents have."""


def script(name: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    settings = [text for text in SMALL if not text.startswith(TAKEN)]
    own = {"PYTHON": sys.executable, "RESULTS": str(tmp_path / "results")}
    return subprocess.run(
        [TOP / "scripts" / name, *settings, *([] if "STEPS" in variables else ["total_steps=100"])],
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_whole_table_says_what_it_would_do(tmp_path: Path) -> None:
    done = script("paper_table.sh", tmp_path, ENVS="inverted_pendulum", DRY_RUN="1")
    assert done.returncode == 0, done.stderr
    spiking, ordinary, compare, total = done.stdout.splitlines()
    assert "-m snnrl.train -m experiment=carebn/td3\\,carebn/ddpg" in spiking
    assert "neuron=clif\\,lif\\,dn bn=none\\,vanilla\\,ca_only\\,re_only\\,carebn" in spiking
    assert "actor=ann bn=none" in ordinary
    assert "-m snnrl.compare" in compare
    # 2 algorithms, 3 neurons, 5 normalisations, 5 seeds; 2 algorithms, 5 seeds.
    assert re.match(r"160 runs, about \d.* of computing; \d+ at a time, .* about \d", total)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_mistake_in_the_settings_of_a_dry_run(tmp_path: Path) -> None:
    done = script("paper_table.sh", tmp_path, ENVS="hoper", DRY_RUN="1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "env=hoper: expected one of" in line


@pytest.mark.slow
def test_a_part_of_the_table(tmp_path: Path) -> None:
    part = {"ENVS": "inverted_pendulum", "NEURONS": "lif", "NORMS": "none,carebn", "SEEDS": "1"}
    done = script("paper_table.sh", tmp_path, **part)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("DONE"))) == 6
    assert (tmp_path / "results" / "table.md").exists()


@pytest.mark.slow
def test_the_quick_start(tmp_path: Path) -> None:
    done = script("compare_quickstart.sh", tmp_path, SEEDS="1")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("DONE"))) == 3
    assert (tmp_path / "results" / "table.md").exists()


@pytest.mark.slow
def test_all_strategies(tmp_path: Path) -> None:
    done = script("compare_strategies.sh", tmp_path, SEEDS="1", STEPS="100")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("DONE"))) == 5
    assert (tmp_path / "results" / "table.md").exists()


@pytest.mark.slow
def test_all_classifiers(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    small = ["data.examples=16", "algo.batch_size=8", "actor.hidden=[4]", "actor.time_steps=2"]
    own = {"PYTHON": sys.executable, "RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        [TOP / "scripts" / "compare_classifiers.sh", *small, "kernel=naive"],
        env={**os.environ, **own, "SEEDS": "1", "EPOCHS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "table.md").exists()
