from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.protocol import METHODS, PROTOCOL, follows
from snnrl.analysis.published import comparable_results, published_beside, published_results
from snnrl.analysis.run_folders import find_runs, load_run
from snnrl.analysis.runs import Run
from snnrl.run_format.settings import CAME_LATER
from tests.run_folders import published_settings, write_run

TOP = Path(__file__).parents[2]

ANNS = [("ANN", 10857), ("ANN", 10857), ("ANN", 10454)]


def run(folder: Path, **settings: Any) -> Run:
    return load_run(write_run(folder, {0: [1.0, 2.0]}, **settings))


def test_the_data_file() -> None:
    everything = published_results()
    rows = [row for row in everything if row.protocol == PROTOCOL]
    assert len(rows) == 9 * 5 + 10 * 5 + 5
    assert len({(row.env, row.method, row.source) for row in everything}) == len(everything)
    assert METHODS.keys() <= {row.method for row in rows}
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
    assert (other.mean, other.steps, other.seeds) == (5100, None, 5)
    assert {row.seeds for row in rows if row.source.startswith("arXiv")} == {5}
    # A row has one neuron, whichever paper prints it; a conversion's is not that of a spiking run.
    for method in {row.method for row in rows}:
        (neuron,) = {row.neuron for row in rows if row.method == method}
        assert (neuron == "") == (method in ("ANN", "ANN-to-SNN conversion", "ANN with a proxy"))


def test_numbers_of_other_protocols() -> None:
    others = [row for row in published_results() if row.protocol != PROTOCOL]
    assert {row.protocol for row in others} == {"PopSAN", "MDC-SAN", "CMC-DSQN"}
    (hopper,) = [row for row in others if (row.env, row.method) == ("Hopper-v3", "PopSAN")]
    assert (hopper.mean, hopper.std, hopper.seeds) == (3599, 68, 10)
    assert all(row.source for row in others)
    environments = {row.env for row in others}
    assert [row for env in environments for row in comparable_results(env)] == []


def beside(folder: Path, *changes: str, env: str = "HalfCheetah-v4", **more: Any) -> list[Any]:
    """Published numbers beside a run of CaRe-BN's protocol, changed by a command line.

    :param more: dotted keys with ``__`` in place of dots
    """
    settings = {**published_settings(*changes), "env.id": env}
    settings |= {key.replace("__", "."): value for key, value in more.items()}
    ours = run(folder / "run", settings=settings)
    return [(row.method, row.mean) for row in published_beside(ours.environment, [ours])]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (["bn=carebn"], [("CaRe-BN", 9563)]),
        (["bn=tdbn"], [("tdBN", 9402)]),
        (["bn=tebn"], [("TEBN", 9452)]),
        (["bn=tab"], [("TAB", 9784)]),
        (["actor=ann", "bn=none"], ANNS),
        (["bn=none"], [("pop-SAN", 9594), ("pop-SAN", 9594)]),
        (["bn=none", "neuron=lif"], [("vanilla LIF", 9404)]),
        (["bn=none", "neuron=dn"], [("MDC-SAN", 9147)] * 2),
        # The published code's sign made MDC-SAN's row, not the papers'.
        (["bn=none", "neuron=dn_mdcsan"], []),
        (["bn=none", "neuron=plif"], []),
        (["bn=tdbn", "neuron=dn"], []),
        (["bn=carebn", "neuron=lif"], []),
        # CaRe-BN's own moving average has no row with a number.
        (["bn=vanilla"], []),
        (["bn=ca_only"], []),
        (["bn=bntt"], []),
        (["bn=tdbn", "bn.rule=confidence"], []),
        (["bn=carebn", "bn.confidence=kalman"], []),
        (["bn=carebn", "actor=ann"], []),
        (["actor=ann", "bn=none", "bn@critic.bn=vanilla"], []),
        (["bn=carebn", "bn@critic.bn=vanilla"], []),
    ],
)
def test_a_setting_finds_its_numbers(
    changes: list[str], found: list[tuple[str, float]], tmp_path: Path
) -> None:
    assert beside(tmp_path, *changes) == found


@pytest.mark.parametrize("env", ["HalfCheetah-v5", "HalfCheetah-v3", "Pendulum-v1"])
def test_another_environment_has_no_number(env: str, tmp_path: Path) -> None:
    assert beside(tmp_path, env=env) == []


FREE_HERE = {"kernel.name", "threads", "seeding", "surrogate.scale_end"}
"""Settings that do not make another protocol; the last cannot be changed alone."""


def test_every_other_setting_makes_another_protocol(tmp_path: Path) -> None:
    """A number stands beside runs of its own protocol alone, whatever is changed."""
    settings = {**published_settings(), "env.id": "HalfCheetah-v4"}
    matched = []
    for key, value in settings.items():
        if key in ("env.id", *FREE_HERE):
            continue
        changed = {**settings, **CAME_LATER, key: _other(value)}
        if follows(changed, "CaRe-BN", "clif", "HalfCheetah-v4"):
            matched.append(key)
    assert matched == []
    whole = {**CAME_LATER, **settings}
    assert follows(whole, "CaRe-BN", "clif", "HalfCheetah-v4")
    # Nor does one that is not known, or one that nobody knows.
    for key in settings.keys() - {"env.id", *FREE_HERE} - CAME_LATER.keys():
        less = {name: each for name, each in whole.items() if name != key}
        assert not follows(less, "CaRe-BN", "clif", "HalfCheetah-v4"), key
    assert not follows({**whole, "env.kwargs.mass": 2}, "CaRe-BN", "clif", "HalfCheetah-v4")


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, 3] if isinstance(value, list) else f"{value}x"


@pytest.mark.parametrize(
    "free", [{"seed": 7}, {"total_steps": 300_000}, {"device": "cpu"}, {"kernel.name": "naive"}]
)
def test_length_seed_and_machine_do_not(free: dict[str, Any], tmp_path: Path) -> None:
    own = {key.replace(".", "__"): value for key, value in free.items()}
    assert beside(tmp_path, **own) == [("CaRe-BN", 9563)]


@pytest.mark.parametrize(
    ("method", "neuron", "env", "settings"),
    [
        ("PT-LIF", "lif", "Hopper-v4", (1e-3, [512, 512])),
        ("PT-CLIF", "clif", "Hopper-v4", (3e-3, [800, 600])),
        ("PT-CLIF", "clif", "InvertedDoublePendulum-v4", (3e-3, [512, 512])),
        ("PT-DN", "dn", "Hopper-v4", (3e-3, [512, 512])),
    ],
)
def test_a_proxy(method: str, neuron: str, env: str, settings: tuple[float, list[int]]) -> None:
    base = {**CAME_LATER, **published_settings("bn=none", f"neuron={neuron}"), "env.id": env}
    rate, hidden = settings
    proxy = {
        "target.name": "proxy",
        "target.updates": 3,
        "target.learning_rate": rate,
        "target.hidden": hidden,
    }
    assert follows({**base, **proxy}, method, neuron, env)
    assert not follows(base, method, neuron, env)
    for key, other in (("target.updates", 1), ("target.hidden", [64, 64]), ("bn.name", "carebn")):
        assert not follows({**base, **proxy, key: other}, method, neuron, env)


def test_the_ordinary_agents_proxy_is_the_default_one() -> None:
    base = {**CAME_LATER, **published_settings("actor=ann", "bn=none", "target=proxy")}
    env = "HalfCheetah-v4"
    assert follows({**base, "env.id": env}, "ANN with a proxy", "", env)
    for key, other in (
        ("target.updates", 50),
        ("target.learning_rate", 0.5),
        ("target.hidden", [1]),
    ):
        assert not follows({**base, "env.id": env, key: other}, "ANN with a proxy", "", env), key
    notes = {row.note for row in published_results() if row.method == "ANN with a proxy"}
    assert len(notes) == 1 and "not known" in notes.pop()


CAREBN, TDBN = [("CaRe-BN", 9563)], [("tdBN", 9402)]


@pytest.mark.parametrize(
    ("changes", "more", "found"),
    [
        ([], {"bn.effective_n": 255.0}, CAREBN),
        ([], {"bn.effective_n": 254.0}, []),
        ([], {"actor.readout": "population"}, CAREBN),
        ([], {"actor.readout": "linear"}, []),
        ([], {"algo.critic_learning_rate": 3e-4}, CAREBN),
        ([], {"algo.critic_learning_rate": 1e-3}, []),
        ([], {"algo.gradient_steps": -1}, CAREBN),
        ([], {"algo.gradient_steps": -1, "env.n_envs": 4}, []),
        ([], {"evaluation.max_episode_steps": 1000}, CAREBN),
        ([], {"evaluation.max_episode_steps": 999}, []),
        ([], {"bn.name": "ca_only"}, CAREBN),
        ([], {"bn.recalibrate_batches": 50}, []),
        (["bn=tdbn"], {"bn.recalibrate_batches": 50}, TDBN),
        (["bn=tdbn"], {"bn.name": "ca_only"}, []),
        (
            ["bn=none", "neuron=dn_mdcsan"],
            {"neuron.tu": 0.529},
            [("MDC-SAN", 9147)] * 2,
        ),
        (["bn=none", "neuron=alif"], {"neuron.beta": 0}, [("vanilla LIF", 9404)]),
        (["bn=none"], {"neuron.current_decay": 0}, [("vanilla LIF", 9404)]),
        (["bn=none"], {"encoder.name": "population_poisson"}, []),
    ],
)
def test_settings_that_mean_the_same_find_the_same_row(
    changes: list[str], more: dict[str, Any], found: list[tuple[str, float]], tmp_path: Path
) -> None:
    own = {key.replace(".", "__"): value for key, value in more.items()}
    assert beside(tmp_path, *changes, **own) == found


def test_of_the_recorded_runs_only_those_of_the_protocol() -> None:
    folders = [f for f in find_runs([str(TOP / "results" / "paper")])]
    found = {f.settings["bn.name"]: published_beside(f.environment, [f]) for f in folders}
    assert {row.method for row in found["carebn"]} == {"CaRe-BN"}
    assert {row.method for row in found["none"]} == {"pop-SAN"}
    quick = find_runs([str(TOP / "results" / "quickstart")])
    assert {ours.environment for ours in quick} == {"InvertedDoublePendulum-v4"}
    assert [row for ours in quick for row in published_beside(ours.environment, [ours])] == []


def test_a_pooled_group_stands_for_no_number(tmp_path: Path) -> None:
    both = [
        run(tmp_path / bn, settings=published_settings(f"bn={bn}")) for bn in ("carebn", "tdbn")
    ]
    assert len(published_beside("HalfCheetah-v4", both[:1])) == 1
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
    assert ann.note == "consistent with four seeds at 9360 and one at 75"
    seeds = [9360.0] * 4 + [75.0]
    assert round(statistics.mean(seeds)) == ann.mean
    assert abs(statistics.pstdev(seeds) - ann.std) < 2
