"""The scripts that sweep, on tiny settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from snnrl.ops.native.library import compiler
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
    *sweeps, compare, total = done.stdout.splitlines()
    spiking, ordinary, ilcsan, proxies, carebn, clif, proxied_ordinary = sweeps
    assert "-m snnrl.train -m experiment=carebn/td3\\,carebn/ddpg" in spiking
    assert "neuron=clif\\,lif\\,dn" in spiking
    assert "bn=none\\,vanilla\\,ca_only\\,re_only\\,carebn\\,tdbn\\,tebn\\,tab" in spiking
    assert "actor=ann bn=none" in ordinary
    assert "experiment=ilcsan/td3_carebn" in ilcsan
    assert "experiment=proxy/td3_lif\\,proxy/td3_dn " in proxies
    assert "experiment=carebn/td3_proxy" in carebn
    assert "experiment=proxy/td3_clif" in clif
    assert "actor=ann bn=none target=proxy" in proxied_ordinary
    assert "-m snnrl.compare" in compare
    # 2 algorithms, 3 neurons, 8 normalisations, 5 seeds; 2 algorithms; 1, 3, 1 and 1 of TD3.
    assert re.match(r"280 runs, about \d.* of computing; \d+ at a time, .* about \d", total)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_mistake_in_the_settings_of_a_dry_run(tmp_path: Path) -> None:
    done = script("paper_table.sh", tmp_path, ENVS="hoper", DRY_RUN="1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "env=hoper: expected one of" in line


def test_the_proxy_of_clif_has_its_own_size_on_one_environment(tmp_path: Path) -> None:
    own = {"PYTHON": "echo", "RESULTS": str(tmp_path / "results"), "ROWS": "proxies"}
    envs = "hopper,inverted_double_pendulum,ant"
    done = script("paper_table.sh", tmp_path, **own, ENVS=envs, NEURONS="clif", SEEDS="2")
    carebn, most, one, _ = (line.split() for line in done.stdout.splitlines())
    assert {"experiment=carebn/td3_proxy", f"env={envs}"} <= {*carebn}
    assert {"experiment=proxy/td3_clif", "env=hopper,ant"} <= {*most}
    small = {"env=inverted_double_pendulum", "target.hidden=[512,512]"}
    assert {"experiment=proxy/td3_clif", *small} <= {*one}
    assert "target.hidden=[512,512]" not in most
    done = script("paper_table.sh", tmp_path, **own, NEURONS="lif", ENVS="hopper")
    (proxies, _) = done.stdout.splitlines()
    assert "experiment=proxy/td3_lif" in proxies.split()


@pytest.mark.parametrize(
    ("neurons", "rows", "presets"),
    [
        ("lif", "proxies", ["proxy/td3_lif"]),
        ("lif,dn", "ilcsan,proxies", ["proxy/td3_lif,proxy/td3_dn"]),
        ("clif", "ilcsan", ["ilcsan/td3_carebn"]),
        ("dn,clif", "proxies", ["proxy/td3_dn", "carebn/td3_proxy", "proxy/td3_clif"]),
        ("plif", "spiking,ilcsan", ["carebn/td3"]),
    ],
)
def test_only_rows_of_the_neurons_asked_for(
    neurons: str, rows: str, presets: list[str], tmp_path: Path
) -> None:
    asked = {"NEURONS": neurons, "ROWS": rows, "ENVS": "hopper", "ALGORITHMS": "td3"}
    done = script("paper_table.sh", tmp_path, PYTHON="echo", **asked)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"experiment=(\S+)", done.stdout) == presets
    assert all(
        (TOP / f"configs/experiment/{p}.yaml").exists() for each in presets for p in each.split(",")
    )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"NEURONS": "plif"}, "NEURONS=plif: has no proxy; expected some of lif,clif,dn"),
        ({"NEURONS": "lif,alif", "ROWS": "proxies"}, "NEURONS=alif: has no proxy"),
        ({"NEURONS": "lif", "ROWS": "ilcsan"}, "NEURONS=lif: ROWS=ilcsan has no run of these"),
    ],
)
def test_neurons_without_a_row(asked: dict[str, str], words: str, tmp_path: Path) -> None:
    done = script("paper_table.sh", tmp_path, PYTHON="echo", **asked)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {words}")


def test_rows_that_are_none(tmp_path: Path) -> None:
    done = script("paper_table.sh", tmp_path, ROWS="spiking,proxy", PYTHON="echo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ROWS=proxy: expected some of spiking,")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, runs", [("compare_norms.sh", 14), ("compare_actors.sh", 9), ("compare_methods.sh", 8)]
)
def test_methods_on_the_quick_starts_task(name: str, runs: int, tmp_path: Path) -> None:
    done = script(name, tmp_path, SEEDS="1", STEPS="100")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.rglob("DONE"))) == runs
    table = (tmp_path / "results" / "table.md").read_text()
    expected = {"norms": "confidence", "actors": "proxy", "methods": "ahsar"}
    assert expected[name.split("_")[1].removesuffix(".sh")] in table


@pytest.mark.slow
def test_deployed_agents(tmp_path: Path) -> None:
    if compiler() is None:
        pytest.skip("no C compiler")
    done = script("deploy_table.sh", tmp_path, STEPS="100")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "results" / "table.md").read_text().splitlines()[2:]
    assert len(rows) == 14 and sum("8 bits" in row for row in rows) == 4


@pytest.mark.slow
def test_a_part_of_the_table(tmp_path: Path) -> None:
    part = {"ENVS": "inverted_pendulum", "NEURONS": "lif", "NORMS": "none,carebn", "SEEDS": "1"}
    part["ROWS"] = "spiking,ordinary"
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
