from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.published import published_beside, published_results
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from tests.run_folders import write_run


def run(folder: Path, **settings: Any) -> Run:
    return load_run(write_run(folder, {0: [1.0, 2.0]}, **settings))


def test_the_data_file() -> None:
    rows = published_results()
    assert len(rows) == 9 * 5 + 5
    assert len({(row.env, row.method, row.source) for row in rows}) == len(rows)
    assert {row.algo for row in rows} == {"td3"}
    assert all(row.env.endswith("-v4") for row in rows)
    (carebn,) = [row for row in rows if (row.env, row.method) == ("Ant-v4", "CaRe-BN")]
    assert (carebn.mean, carebn.neuron, carebn.steps) == (5373, "clif", 1_000_000)
    assert math.isnan(carebn.std)
    (other,) = [row for row in rows if row.env == "Ant-v4" and row.std == 1269]
    assert (other.mean, other.steps) == (5100, None)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"bn": "carebn"}, [("CaRe-BN", 9563)]),
        ({"bn": "vanilla"}, [("tdBN", 9402)]),
        ({"bn": "none", "settings": {"actor.name": "ann"}}, [("ANN", 10857), ("ANN", 10454)]),
        ({"bn": "ca_only"}, []),
        ({"algo": "ddpg"}, []),
        ({"env": "pendulum"}, []),
        ({"settings": {"neuron.name": "lif"}}, []),
        ({"settings": {"env.id": "HalfCheetah-v5"}}, []),
        ({"settings": {"critic.name": "spiking"}}, []),
        ({"bn": "none", "settings": {"actor.name": "stock"}}, []),
    ],
)
def test_a_setting_finds_its_numbers(
    tmp_path: Path, settings: dict[str, Any], found: list[tuple[str, float]]
) -> None:
    own = {"neuron.name": "clif", **settings.pop("settings", {})}
    ours = run(tmp_path / "run", settings=own, **settings)
    rows = published_beside(ours.environment, [ours])
    assert [(row.method, row.mean) for row in rows] == found


def test_a_pooled_group_stands_for_no_number(tmp_path: Path) -> None:
    clif = {"neuron.name": "clif"}
    both = [run(tmp_path / bn, bn=bn, settings=clif) for bn in ("carebn", "vanilla")]
    assert published_beside("HalfCheetah-v4", both) == []
    assert published_beside("HalfCheetah-v4", []) == []
