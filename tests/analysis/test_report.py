from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from snnrl.analysis.comparison import compare_runs
from snnrl.analysis.notes import make_notes, overall_notes
from snnrl.analysis.report import summarise_run, to_csv, to_markdown
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from snnrl.analysis.table import make_overall, make_table
from snnrl.errors import UserError
from tests.analysis.test_plots import assert_picture
from tests.run_folders import published_settings, write_run

STEPS = range(0, 1100, 100)


def make_run(
    folder: Path, top: float, seed: int = 0, steps: Iterable[int] = STEPS, **settings: Any
) -> Run:
    """A run that rises evenly from 0 to ``top``, with two episodes 2 apart in each evaluation."""
    returns = {step: [top * step / 1000 - 1, top * step / 1000 + 1] for step in steps}
    return load_run(write_run(folder, returns, seed=seed, **settings))


@pytest.fixture
def groups(tmp_path: Path) -> dict[str, list[Run]]:
    return {
        "carebn": [make_run(tmp_path / f"carebn-{s}", t, s) for s, t in enumerate((100, 200, 600))],
        "vanilla": [
            make_run(tmp_path / "vanilla-0", 50, 0, bn="vanilla"),
            make_run(tmp_path / "vanilla-1", 9e9, 1, bn="vanilla", status="FAILED"),
        ],
    }


def test_table_numbers(groups: dict[str, list[Run]]) -> None:
    carebn, vanilla = make_table(groups)
    assert (carebn.environment, carebn.group, carebn.seeds) == (
        "HalfCheetah-v4",
        "carebn",
        [0, 1, 2],
    )
    assert carebn.estimates["final"].mean == pytest.approx(300)
    # t(0.975, 2) = 4.3027, sd = 264.575
    assert carebn.estimates["final"][2:] == pytest.approx((-357.241, 957.241), abs=1e-3)
    # The last ten of eleven evaluations: tops times the mean of 0.1 ... 1.0.
    assert carebn.estimates["last_10"].mean == pytest.approx(165)
    assert carebn.estimates["max_of_seeds"].mean == pytest.approx(300)
    assert carebn.estimates["max_of_mean"].mean == pytest.approx(300)
    assert (vanilla.seeds, vanilla.failed, vanilla.unfinished) == ([0], 1, 0)
    assert vanilla.estimates["final"].mean == pytest.approx(50)


def test_markdown_has_tables_definitions_and_warnings(groups: dict[str, list[Run]]) -> None:
    runs = [run for members in groups.values() for run in members]
    comparison = compare_runs(runs, ["bn.name"])
    text = to_markdown(comparison)
    assert text.startswith("grouped by bn.name; baseline: vanilla (by default;")
    for part in (
        "300.0 ± 264.6 [-357.2, 957.2]",
        "165.0 ± 145.5 [-196.5, 526.5]",
        "## Definitions",
    ):
        assert part in text
    for note in comparison.notes:
        assert f"- {note}" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables[0].split("|")[1].strip() == "group"
    # Each table is aligned, rule and all.
    assert len({len(line) for line in tables[:4]}) == 1
    assert tables[1].count("|") == tables[0].count("|") == 10


def test_a_bar_in_a_name_does_not_break_the_table(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 1, settings={"bn.name": "a|b"})
    assert r"| a\|b  |" in to_markdown(compare_runs([run], ["bn.name"]))


def test_csv_numbers(groups: dict[str, list[Run]]) -> None:
    runs = [run for members in groups.values() for run in members]
    text = to_csv(compare_runs(runs, ["bn.name"], baseline="vanilla"))
    carebn, vanilla, overall = csv.DictReader(io.StringIO(text))
    assert (carebn["seeds"], carebn["runs"], carebn["steps"]) == ("0 1 2", "3", "1000")
    assert float(carebn["final_mean"]) == pytest.approx(300)
    assert float(carebn["final_sd"]) == pytest.approx(264.575131)
    assert float(carebn["final_iqm"]) == pytest.approx(300)
    assert float(carebn["final_iqm_low"]) < 200 < 400 < float(carebn["final_iqm_high"])
    assert float(carebn["final_improvement"]) == 1
    assert (vanilla["failed"], vanilla["final_low"], vanilla["final_improvement"]) == ("1", "", "")
    assert (overall["environment"], overall["environments"]) == ("all", "HalfCheetah-v4")
    assert float(overall["final_apg"]) == pytest.approx(500)
    assert float(overall["final_normalised_iqm"]) == pytest.approx(6)
    assert overall["final_apg_low"] == ""


def test_no_baseline_no_comparison(tmp_path: Path) -> None:
    comparison = compare_runs([make_run(tmp_path / "a", 1)], ["bn.name"])
    assert comparison.baseline is None
    assert comparison.heading == "grouped by bn.name"
    assert "P(better)" not in to_markdown(comparison).split("## Definitions")[0]


def test_published_numbers_stand_beside_ours(tmp_path: Path) -> None:
    runs = [
        make_run(
            tmp_path / f"{bn}-{seed}", 100 + seed, seed, settings=published_settings(f"bn={bn}")
        )
        for bn in ("carebn", "ca_only")
        for seed in range(2)
    ]
    text = to_markdown(compare_runs(runs, ["bn.name"]))
    (line,) = [line for line in text.splitlines() if "| CaRe-BN" in line]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:5] == ["CaRe-BN", "clif", "9563 ± ?", "5", "1,000,000"]
    assert cells[5:] == ["carebn", "100.5 ± 0.707", "2", "1,000", "arXiv 2509.23791"]
    (line,) = [line for line in text.splitlines() if "10454 ± 382" in line]
    assert line.split("|")[6].strip() == "-"
    assert "mean ± deviation over seeds (the population's, n, where known)" in text
    assert "Published" not in to_markdown(compare_runs(runs[2:], ["bn.name"]))


def test_the_number_with_a_deviation_is_the_one_in_the_csv(tmp_path: Path) -> None:
    ann = published_settings("actor=ann", "bn=none")
    comparison = compare_runs([make_run(tmp_path / "a", 100, settings=ann)], ["bn.name"])
    (record,) = csv.DictReader(io.StringIO(to_csv(comparison)))
    assert (record["published_mean"], record["published_sd"]) == ("10857.0", "475.0")
    assert record["published_seeds"] == "5"
    assert record["published_source"] == "arXiv 2505.24161"


def test_a_row_of_unknown_settings_says_so_where_runs_stand_for_it(tmp_path: Path) -> None:
    own = published_settings("actor=ann", "bn=none", "target=proxy")
    for name, settings, found in (("a", own, 1), ("b", published_settings("bn=none"), 0)):
        notes = compare_runs([make_run(tmp_path / name, 100, settings=settings)], []).notes
        assert sum("ANN with a proxy" in note and "not known" in note for note in notes) == found


def test_the_failed_seed_behind_a_published_number_is_named(tmp_path: Path) -> None:
    line = (
        "InvertedDoublePendulum-v4: the published ANN's 7503 ± 3713 is consistent with four seeds "
        "at 9360 and one at 75"
    )
    for env, found in (("InvertedDoublePendulum-v4", [line]), ("Hopper-v4", [])):
        settings = {**published_settings("bn=none"), "env.id": env}
        runs = [make_run(tmp_path / env, 100, settings=settings)]
        notes = compare_runs(runs, ["bn.name"]).notes
        assert [note for note in notes if "published" in note] == found


def seeds(folder: Path, tops: Iterable[float], **settings: Any) -> list[Run]:
    return [make_run(folder / str(seed), top, seed, **settings) for seed, top in enumerate(tops)]


def test_averages_over_environments(tmp_path: Path) -> None:
    groups = {
        "carebn": seeds(tmp_path / "a", [200, 220])
        + seeds(tmp_path / "b", [-5, -6], env="pendulum"),
        "vanilla": seeds(tmp_path / "c", [100, 110], bn="vanilla")
        + seeds(tmp_path / "d", [-5, -8], bn="vanilla", env="pendulum"),
    }
    (row,) = overall = make_overall(groups, "vanilla")
    assert row.environments == ["HalfCheetah-v4", "Pendulum-v1"]
    assert row.positive == ["HalfCheetah-v4"]
    assert row.gain["final"].value == pytest.approx(100)
    assert row.improvement["final"].value == pytest.approx((1 + 2.5 / 4) / 2)
    assert row.iqm["final"].value == pytest.approx(2)
    (note,) = overall_notes(overall)
    assert note.endswith("baseline's mean return is not positive there: Pendulum-v1")


def test_gain_over_a_baseline_with_a_negative_seed_has_no_interval(tmp_path: Path) -> None:
    groups = {
        "carebn": seeds(tmp_path / "a", [200, 220]),
        "vanilla": seeds(tmp_path / "b", [100, -50], bn="vanilla"),
    }
    (row,) = make_overall(groups, "vanilla")
    assert row.gain["max_of_seeds"].value == pytest.approx(100 * (210 / 50 - 1), rel=0.05)
    assert math.isnan(row.gain["final"].low)


def test_averages_over_different_environments_are_noted(tmp_path: Path) -> None:
    groups = {
        "vanilla": seeds(tmp_path / "a", [1], bn="vanilla")
        + seeds(tmp_path / "b", [1], bn="vanilla", env="pendulum"),
        "carebn": seeds(tmp_path / "c", [1]),
        "none": seeds(tmp_path / "d", [1], bn="none", env="pendulum"),
        "alone": seeds(tmp_path / "e", [1], settings={"env.id": "Ant-v4"}),
    }
    overall = make_overall(groups, "vanilla")
    assert [row.group for row in overall] == ["carebn", "none"]
    assert overall_notes(overall) == [
        "averages over different environments: carebn: HalfCheetah-v4; none: Pendulum-v1"
    ]


def test_notes_name_failed_and_unfinished_runs(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", {}, status=None, versions={})
    (empty / "evaluations.csv").unlink()
    groups = {
        "carebn": [
            make_run(tmp_path / "failed", 1, 0, status="FAILED"),
            make_run(tmp_path / "cut", 1, 1, steps=[0, 100], status=None),
            load_run(empty),
        ]
    }
    notes = make_notes(groups, ["bn.name"])
    assert f"failed, not in the numbers: {tmp_path / 'failed'} (no reason recorded)" in notes
    assert any("(100 of 1000 steps)" in note and str(tmp_path / "cut") in note for note in notes)
    assert f"unfinished, not in the numbers, no evaluation yet: {empty}" in notes
    (row,) = make_table(groups)
    assert (row.seeds, row.failed, row.unfinished) == ([1], 1, 2)


def test_notes_on_differences(tmp_path: Path) -> None:
    groups = {
        "carebn": [
            make_run(
                tmp_path / "a",
                1,
                0,
                versions={"torch": "2.13.0", "numpy": "2.4", "kernel": "naive"},
                hardware={"cpu": "one", "gpu": None},
            )
        ],
        "vanilla": [
            make_run(
                tmp_path / "b",
                1,
                1,
                steps=[0, 100],
                versions={"torch": "2.12.0", "numpy": "2.4", "kernel": "native"},
                hardware={"cpu": "two", "gpu": None},
            ),
            make_run(tmp_path / "c", 1, 1, settings={"env.id": "HalfCheetah-v5"}),
        ],
    }
    notes = make_notes(groups, ["bn.name"])
    assert "HalfCheetah-v4: steps differ: carebn: 1000; vanilla: 100" in notes
    assert "HalfCheetah-v4: seeds differ: carebn: 0; vanilla: 1" in notes
    assert "versions differ: torch 2.12.0, 2.13.0" in notes
    assert "kernels differ: naive, native" in notes
    assert "hardware differs: cpu one, two" in notes
    assert f"versions unknown: {tmp_path / 'c'}" in notes
    assert any(note.endswith("do not compare: HalfCheetah-v4, HalfCheetah-v5") for note in notes)
    assert (
        "'last 10' is over fewer, as there are no more evaluations: HalfCheetah-v4, vanilla: 2"
        in notes
    )
    assert any(note.startswith("one seed, so no interval") for note in notes)
    assert not any("numpy" in note or "gpu" in note for note in notes)


def test_few_seeds_and_unknown_times_are_noted(tmp_path: Path) -> None:
    notes = make_notes({"carebn": seeds(tmp_path / "a", [1, 2, 3, 4])}, ["bn.name"])
    (few,) = [note for note in notes if note.startswith("fewer than 10 seeds")]
    assert few.endswith("HalfCheetah-v4, carebn: 4")
    (timeless,) = [note for note in notes if note.startswith("wall time unknown")]
    assert timeless.endswith("2 and 1 more")
    assert str(tmp_path / "a" / "0") in timeless


def test_equal_groups_of_ten_seeds_need_no_note(tmp_path: Path) -> None:
    groups = {
        bn: [
            make_run(
                tmp_path / f"{bn}-{seed}",
                seed + 1,
                seed,
                bn=bn,
                versions={"torch": "2.13.0"},
                clock={0: 0, 1000: 9},
            )
            for seed in range(10)
        ]
        for bn in ("carebn", "vanilla")
    }
    assert make_notes(groups, ["bn.name"]) == []


def test_notes_on_a_group_that_is_not_one_sample(tmp_path: Path) -> None:
    group = [
        make_run(tmp_path / "a", 1, 0),
        make_run(tmp_path / "b", 1, 0, steps=range(0, 1100, 50)),
        make_run(tmp_path / "c", 1, 1),
    ]
    notes = make_notes({"carebn": group}, ["bn.name"])
    (note,) = [note for note in notes if "several runs with one seed" in note]
    assert note.startswith("HalfCheetah-v4, carebn: ")
    assert note.endswith(": 0")
    assert any("over the 11 evaluations that all seeds have" in note for note in notes)


def test_settings_that_come_with_a_group_are_noted(tmp_path: Path) -> None:
    groups = {
        "carebn": [
            make_run(
                tmp_path / f"carebn-{seed}",
                1,
                seed,
                settings={"algo.learning_rate": 0.5, "bn.rule": "confidence", "device": "cpu"},
            )
            for seed in range(2)
        ],
        "vanilla": [
            make_run(
                tmp_path / f"vanilla-{seed}",
                1,
                seed,
                bn="vanilla",
                settings={"algo.learning_rate": 1e-3, "bn.rule": "ema", "algo.batch_size": 256},
            )
            for seed in range(2)
        ],
    }
    (note,) = [note for note in make_notes(groups, ["bn.name"]) if "groups differ in" in note]
    assert note == "HalfCheetah-v4: groups differ in algo.learning_rate too"
    (note,) = [
        note for note in make_notes(groups, ["algo.learning_rate"]) if "groups differ in" in note
    ]
    assert note == "HalfCheetah-v4: groups differ in bn.name, bn.rule too"


def test_numbers_of_evaluations_and_episodes_that_differ_are_noted(tmp_path: Path) -> None:
    often = write_run(tmp_path / "often", {0: [1.0], 500: [2.0], 1000: [3.0]})
    seldom = write_run(tmp_path / "seldom", {0: [1.0, 2.0], 1000: [3.0, 3.0]}, bn="vanilla")
    notes = make_notes({"carebn": [load_run(often)], "vanilla": [load_run(seldom)]}, ["bn.name"])
    assert (
        "HalfCheetah-v4: numbers of evaluations differ, and the maxima of more are higher: "
        "carebn: 3; vanilla: 2"
    ) in notes
    assert "HalfCheetah-v4: episodes of an evaluation differ: carebn: 1; vanilla: 2" in notes


def test_seeds_that_stand_twice_are_few(tmp_path: Path) -> None:
    twice = [make_run(tmp_path / f"{n}", n, seed=n % 2) for n in range(20)]
    notes = make_notes({"carebn": twice}, ["bn.name"])
    (few,) = [note for note in notes if note.startswith("fewer than 10 seeds")]
    assert few.endswith("HalfCheetah-v4, carebn: 2 (20 runs)")


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("td3", {"algo.learning_starts": 200}),
        ("ppo", {"algo.n_steps": 150, "env.n_envs": 2}),
    ],
)
def test_runs_whose_best_is_that_of_the_untrained_network_are_named(
    tmp_path: Path, algo: str, settings: dict[str, Any]
) -> None:
    returns = {
        "worse": {0: [1.0], 200: [9.0], 300: [2.0], 400: [8.0]},
        "equal": {0: [9.0], 300: [9.0]},
        "better": {0: [1.0], 200: [5.0], 300: [6.0], 400: [2.0]},
        "not trained": {0: [1.0], 200: [5.0]},
    }
    runs = [
        load_run(write_run(tmp_path / name, of, seed=n, algo=algo, settings=settings))
        for n, (name, of) in enumerate(returns.items())
    ]
    (note,) = [n for n in make_notes({"carebn": runs}, ["bn.name"]) if "untrained" in n]
    assert "counts in the maxima" in note
    assert [name in note for name in returns] == [True, True, False, True]
    assert not any("untrained" in n for n in make_notes({"carebn": runs[2:3]}, ["bn.name"]))


def test_runs_and_seeds_are_counted_apart(tmp_path: Path) -> None:
    groups = {
        "carebn": [
            make_run(tmp_path / f"{neuron}-{seed}", 1, seed, settings={"neuron.name": neuron})
            for neuron in ("lif", "clif", "dn")
            for seed in range(2)
        ],
        "vanilla": seeds(tmp_path / "b", [1, 2, 3], bn="vanilla"),
    }
    runs = [run for members in groups.values() for run in members]
    comparison = compare_runs(runs, ["bn.name"])
    text = to_markdown(comparison)
    assert "| carebn  | 2 (6 runs) |" in text
    assert "| vanilla |          3 |" in text
    assert "carebn: 2 (6 runs); " in text and "vanilla: 3" in text


def test_an_interval_without_width_is_marked(tmp_path: Path) -> None:
    tops = {"carebn": [5, 6], "vanilla": [1, 2], "none": [1, 7]}
    runs = [run for bn, values in tops.items() for run in seeds(tmp_path / bn, values, bn=bn)]
    text = to_markdown(compare_runs(runs, ["bn.name"], "vanilla"))
    rows = [line for line in text.splitlines() if line.startswith("|") and "(!)" in line]
    assert {row.split("|")[1].strip() for row in rows} == {"carebn"}
    assert rows[0].count("1.00 [1.00, 1.00] (!)") == 3
    assert "(!): every seed" in text


def test_seeds_that_share_evaluation_episodes_are_noted(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), 1, seed) for seed in (0, 1, 2)]
    assert not any("share up to" in note for note in make_notes({"carebn": runs}, ["bn.name"]))
    # Episodes 100, 101 and 101, 102: one of two is another seed's, too.
    for seed, run in enumerate(runs):
        run.evaluations["seed"] = 100 + seed + run.evaluations["episode"]
    (note,) = [note for note in make_notes({"carebn": runs}, ["bn.name"]) if "share up to" in note]
    assert note.startswith(
        "HalfCheetah-v4, carebn: seeds share up to 1 of 2 evaluation episodes, so they are not"
    )


def test_two_runs_of_one_seed_may_play_the_same_episodes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(k), 1, seed=0) for k in range(2)]
    assert not any("share up to" in note for note in make_notes({"carebn": runs}, ["bn.name"]))


def test_two_ways_of_seeding_are_noted(tmp_path: Path) -> None:
    old = [make_run(tmp_path / f"old-{s}", 1, s) for s in range(2)]
    new = [
        make_run(tmp_path / f"new-{s}", 1, s, settings={"seeding": "independent"}) for s in range(3)
    ]
    (note,) = [
        note
        for note in make_notes({"carebn": [*old, *new]}, ["bn.name"])
        if note.startswith("evaluations are seeded in two ways")
    ]
    assert "seeding=additive: 2, seeding=independent: 3" in note
    for runs in (old, new):
        assert not any("two ways" in note for note in make_notes({"carebn": runs}, ["bn.name"]))


def test_group_without_a_result_is_in_the_table(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", 1, status="FAILED"),
        make_run(tmp_path / "b", 1, bn="vanilla"),
    ]
    comparison = compare_runs(runs, ["bn.name"], baseline="carebn")
    assert "HalfCheetah-v4, carebn: no run has a result" in comparison.notes
    beside = "HalfCheetah-v4: the baseline carebn has no result, so nothing is compared with it"
    assert beside in comparison.notes
    (returns, robust) = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in to_markdown(comparison).splitlines()
        if line.startswith("| carebn")
    ]
    assert returns == ["carebn", "0", "1", "0", *["-"] * 5]
    assert robust == ["carebn", *["-"] * 3, *["baseline"] * 3]


def test_nothing_to_compare_is_said_in_one_line(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, 1, status="FAILED") for name in ("a", "b")]
    expected = f"no run has a result to compare: {tmp_path / 'a'}: no reason recorded (and 1 more)"
    with pytest.raises(UserError) as caught:
        compare_runs(runs, ["bn.name"])
    assert str(caught.value) == expected


def test_summarise_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 100, steps=range(0, 2001, 50))
    text = summarise_run(run.name, tmp_path / "curve.png")
    header, *rows = [line.split() for line in text.splitlines()]
    assert header == ["steps", "mean", "return", "sd"]
    assert len(rows) == 10
    assert rows[0] == ["0", "0", "1.41"]
    assert rows[-1] == ["2000", "200.0", "1.41"]
    assert_picture(tmp_path / "curve.png")


def test_summarise_run_with_one_evaluation_of_one_episode(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {0: [5.0]})
    assert summarise_run(folder, tmp_path / "curve.png").splitlines()[1].split() == ["0", "5", "-"]


def test_summarise_run_without_evaluation(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", {}, status="FAILED")
    with pytest.raises(UserError, match="no evaluation"):
        summarise_run(folder, tmp_path / "curve.png")
