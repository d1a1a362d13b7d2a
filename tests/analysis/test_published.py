from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.published import published_beside, published_results
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from tests.run_folders import write_run

ANNS = [("ANN", 10857), ("ANN", 10857), ("ANN", 10454)]


def run(folder: Path, **settings: Any) -> Run:
    return load_run(write_run(folder, {0: [1.0, 2.0]}, **settings))


def test_the_data_file() -> None:
    rows = published_results()
    assert len(rows) == 9 * 5 + 10 * 5 + 5
    assert len({(row.env, row.method, row.source) for row in rows}) == len(rows)
    for method in {row.method for row in rows}:
        assert len({row.env for row in rows if row.method == method}) == 5
    assert {row.algo for row in rows} == {"td3"}
    assert all(row.env.endswith("-v4") for row in rows)
    (carebn,) = [row for row in rows if (row.env, row.method) == ("Ant-v4", "CaRe-BN")]
    assert (carebn.mean, carebn.neuron, carebn.steps) == (5373, "clif", 1_000_000)
    assert math.isnan(carebn.std)
    lif = [row for row in rows if (row.env, row.neuron) == ("Walker2d-v4", "lif")]
    assert [(row.method, row.mean, row.std) for row in lif] == [
        ("vanilla LIF", 1862, 1450),
        ("PT-LIF", 4314, 423),
    ]
    (other,) = [row for row in rows if row.env == "Ant-v4" and row.std == 1269]
    assert (other.mean, other.steps) == (5100, None)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"bn": "carebn"}, [("CaRe-BN", 9563)]),
        ({"bn": "vanilla"}, [("tdBN", 9402)]),
        ({"bn": "none", "settings": {"actor.name": "ann"}}, ANNS),
        ({"bn": "none"}, [("pop-SAN", 9594), ("pop-SAN", 9594)]),
        ({"bn": "none", "settings": {"neuron.name": "lif"}}, [("vanilla LIF", 9404)]),
        ({"bn": "none", "settings": {"neuron.name": "dn"}}, [("MDC-SAN", 9147)] * 2),
        ({"bn": "vanilla", "settings": {"neuron.name": "dn"}}, []),
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


def test_what_two_papers_print_is_the_same_number() -> None:
    """Rows of Proxy Target are those of CaRe-BN, with deviations."""
    carebn, proxy = ("arXiv 2509.23791", "arXiv 2505.24161")
    means = {
        source: {(r.env, r.method): r.mean for r in published_results() if r.source == source}
        for source in (carebn, proxy)
    }
    shared = means[carebn].keys() & means[proxy].keys()
    assert len(shared) == 5 * 5
    assert [key for key in shared if means[carebn][key] != means[proxy][key]] == []


def test_the_published_deviations_are_the_populations() -> None:
    """As the ordinary agent's on the double pendulum is of four good seeds and a failed one."""
    (ann,) = [
        row
        for row in published_results()
        if (row.env, row.method, row.mean) == ("InvertedDoublePendulum-v4", "ANN", 7503)
        and not math.isnan(row.std)
    ]
    seeds = [9360.0] * 4 + [75.0]
    assert round(statistics.mean(seeds)) == ann.mean
    assert abs(statistics.pstdev(seeds) - ann.std) < 2
