from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from snnrl.analysis import figures, plots, profiles
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.runs import Run
from tests.run_folders import write_run


def runs(folder: Path, seeds: int, **settings: Any) -> list[Run]:
    return [
        load_run(
            write_run(
                folder / f"seed-{seed}",
                {0: [seed, seed + 1.0], 50: [seed + 10.0, seed + 12.0], 100: [20.0, 30.0 + seed]},
                seed=seed,
                **settings,
            )
        )
        for seed in range(seeds)
    ]


def legend(figure: Figure | None) -> list[str]:
    """What stands in the picture's legend, without line breaks."""
    assert figure is not None
    (below,) = figure.legends
    return [text.get_text().replace("\n", " ") for text in below.get_texts()]


def axes_of(figure: Figure | None) -> list[Axes]:
    assert figure is not None
    return list(figure.axes)


def points(line: Line2D) -> np.ndarray:
    """``[n, 2]``"""
    return np.asarray(line.get_xydata())


def assert_drawn(figure: Figure | None, path: Path) -> None:
    assert figure is not None
    figures.save(figure, path)
    assert_picture(path)


def assert_picture(path: Path) -> None:
    pixels = imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def of_data(run: Run) -> Run:
    """The same numbers as a run of a data set."""
    config = run.config | {"data": {"name": "digits"}, "env": {"id": "digits"}}
    return replace(run, config=config)


def test_each_panel_says_what_its_runs_measured(tmp_path: Path) -> None:
    clock = pd.Series([0.0, 60.0], index=[0, 100])
    agents = [replace(run, clock=clock) for run in runs(tmp_path / "a", 2)]
    groups = {"carebn": agents + [of_data(run) for run in agents], "vanilla": agents}
    for figure in (plots.plot_curves(groups), plots.plot_wall_time(groups)):
        assert [axes.get_ylabel() for axes in axes_of(figure)] == ["return", "accuracy (%)"]
    labels = [axes.get_xlabel() for axes in axes_of(plots.plot_curves(groups))]
    assert labels == ["environment steps", "training examples"]
    labels = [axes.get_xlabel() for axes in axes_of(profiles.plot_profiles(groups))]
    assert "return" in labels[0] and "accuracy (%)" in labels[1]
    assert not any(" or " in label for label in labels)


@pytest.mark.parametrize(
    ("episodes", "caption"),
    [(2, "mean ± sd over 2 evaluation episodes"), (1, "one evaluation episode")],
)
def test_the_caption_of_one_run(episodes: int, caption: str, tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "a", {0: [1.0] * episodes, 50: [2.0] * episodes}))
    with patch("snnrl.analysis.plots.save") as save:
        plots.plot_run(run, tmp_path / "curve.png")
        plots.plot_run(of_data(run), tmp_path / "curve.png")
    (first, _), (second, _) = (call.args for call in save.call_args_list)
    assert first.get_supxlabel() == caption
    assert second.get_supxlabel() == "on the test split"


def test_curves(tmp_path: Path) -> None:
    groups = {
        "carebn": runs(tmp_path / "a", 3) + runs(tmp_path / "b", 1, env="pendulum"),
        "vanilla": runs(tmp_path / "c", 6, bn="vanilla"),
    }
    figure = plots.plot_curves(groups)
    assert_drawn(figure, tmp_path / "new" / "curves.png")
    cheetah, pendulum = axes_of(figure)
    assert (cheetah.get_title(), pendulum.get_title()) == ("HalfCheetah-v4", "Pendulum-v1")
    assert (cheetah.get_xlabel(), cheetah.get_ylabel()) == ("environment steps", "return")
    assert legend(figure) == ["carebn (1 to 3 seeds)", "vanilla (6 seeds)"]
    # Means of both groups, and the three single seeds of the first but not the six of the second.
    assert len(cheetah.lines) == 2 + 3
    assert np.allclose(points(cheetah.lines[0]), np.array([[0, 1.5], [50, 12], [100, 25.5]]))
    (band, _) = cheetah.collections
    bottom, top = band.get_datalim(cheetah.transData).intervaly
    # t(0.975, 2) = 4.302653: three seeds one apart, and half apart.
    assert (bottom, top) == pytest.approx((1.5 - 4.302653 / 3**0.5, 25.5 + 0.5 * 4.302653 / 3**0.5))


def test_failed_runs_are_not_drawn(tmp_path: Path) -> None:
    failed = runs(tmp_path / "a", 2, status="FAILED")
    assert plots.plot_curves({"carebn": failed}) is None


def test_single_evaluation_is_a_point(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", {0: [1.0]}))
    figure = plots.plot_curves({"carebn": [run]})
    assert legend(figure) == ["carebn (1 seed)"]
    assert axes_of(figure)[0].lines[0].get_marker() == "o"


def test_seeds_without_a_common_step_are_drawn_singly(tmp_path: Path) -> None:
    group = [
        load_run(write_run(tmp_path / "a", {1: [1.0], 3: [2.0]})),
        load_run(write_run(tmp_path / "b", {2: [1.0], 4: [2.0]})),
    ]
    (axes,) = axes_of(plots.plot_curves({"carebn": group}))
    assert [len(points(line)) for line in axes.lines] == [0, 2, 2]


def test_statistics_error_is_that_of_the_statistics_that_acted(tmp_path: Path) -> None:
    group = runs(tmp_path / "a", 2, errors={0: [1.0, 3.0], 100: [0.1, 0.3]})
    others = runs(tmp_path / "b", 2, bn="none")
    figure = plots.plot_statistics_error({"carebn": group, "none": others})
    assert_drawn(figure, tmp_path / "statistics_error.png")
    (axes,) = axes_of(figure)
    assert axes.get_yscale() == "log"
    assert legend(figure) == ["carebn (2 seeds)"]
    assert np.allclose(points(axes.lines[0]), np.array([[0, 2.0], [100, 0.2]]))


def test_no_statistics_error_no_picture(tmp_path: Path) -> None:
    assert plots.plot_statistics_error({"carebn": runs(tmp_path / "a", 1)}) is None


def test_a_group_keeps_its_colour() -> None:
    strategies = ["none", "vanilla", "carebn", "ca_only", "re_only"]
    together = figures.line_styles(strategies)
    assert len({style.color for style in together.values()}) == len(strategies)
    for name in strategies:
        assert figures.line_styles([name])[name] == together[name]


def test_many_groups_are_told_apart() -> None:
    names = [f"group {number}" for number in range(20)]
    assert len(set(figures.line_styles(names).values())) == 20


def test_curves_over_wall_time(tmp_path: Path) -> None:
    returns = {0: [0.0], 50: [10.0], 100: [20.0]}
    group = [
        load_run(write_run(tmp_path / str(n), returns, seed=n, clock={0: 0, 100: 60 * minutes}))
        for n, minutes in enumerate((2, 4))
    ]
    timeless = load_run(write_run(tmp_path / "timeless", returns, seed=2))
    figure = plots.plot_wall_time({"carebn": [*group, timeless]})
    assert_drawn(figure, tmp_path / "wall_time.png")
    (axes,) = axes_of(figure)
    assert axes.get_xlabel() == "wall time (minutes)"
    assert legend(figure) == ["carebn (2 seeds)"]
    mean, fast, slow = (points(line) for line in axes.lines)
    assert mean[-1].tolist() == [2, 15]
    assert fast.tolist() == [[0, 0], [1, 10], [2, 20]]
    assert slow.tolist() == [[0, 0], [2, 10], [4, 20]]
    assert plots.plot_wall_time({"carebn": [timeless]}) is None


def test_evaluations_beyond_the_clock_are_not_drawn_over_it(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", {0: [1.0], 50: [2.0], 100: [3.0]}, clock={50: 60}))
    assert plots.wall_time_curve(run).to_dict() == {1: 2}


def final_runs(folder: Path, finals: list[float], **settings: Any) -> list[Run]:
    return [
        load_run(write_run(folder / str(seed), {0: [0.0], 100: [top]}, seed=seed, **settings))
        for seed, top in enumerate(finals)
    ]


def test_performance_profiles(tmp_path: Path) -> None:
    groups = {
        "carebn": final_runs(tmp_path / "a", [1.0, 2.0, 3.0, 4.0]),
        "vanilla": final_runs(tmp_path / "b", [2.0]) + runs(tmp_path / "c", 1, status="FAILED"),
    }
    figure = profiles.plot_profiles(groups, baseline="vanilla")
    assert_drawn(figure, tmp_path / "profiles.png")
    assert legend(figure) == ["carebn", "vanilla"]
    (panel,) = axes_of(figure)
    assert panel.get_xlabel() == "tau: final return"
    carebn, vanilla = (points(line) for line in panel.lines)
    taus = carebn[:, 0]
    above = [np.mean([top > tau for top in (1, 2, 3, 4)]) for tau in taus]
    assert carebn[:, 1] == pytest.approx(above)
    assert vanilla[:, 1] == pytest.approx((taus < 2).astype(float))
    band, nothing = panel.collections
    assert band.get_datalim(panel.transData).height > 0.5
    assert not np.isfinite(nothing.get_datalim(panel.transData).height) or not len(
        nothing.get_paths()
    )


def test_profiles_of_several_environments_are_pooled_beside_the_baseline(tmp_path: Path) -> None:
    groups = {
        "carebn": final_runs(tmp_path / "a", [2.0, 4.0])
        + final_runs(tmp_path / "b", [20.0, 20.0], env="pendulum"),
        "vanilla": final_runs(tmp_path / "c", [1.0, 3.0])
        + final_runs(tmp_path / "d", [10.0, 10.0], env="pendulum"),
    }
    axes = axes_of(profiles.plot_profiles(groups, baseline="vanilla"))
    assert [panel.get_title() for panel in axes] == [
        "HalfCheetah-v4",
        "Pendulum-v1",
        "2 environments",
    ]
    taus, share = points(axes[2].lines[0]).T
    assert share == pytest.approx([np.mean([x > tau for x in (1, 2, 2, 2)]) for tau in taus])


def test_no_result_no_profile(tmp_path: Path) -> None:
    failed = runs(tmp_path / "a", 2, status="FAILED")
    assert profiles.plot_profiles({"carebn": failed}) is None


# The legend, ticks and files

LONG = "td3, spiking, lif, carebn, algo.batch_size=256, actor.hidden=[256, 256], encoder.population"
NAMES = {
    "one": ["carebn"],
    "few": ["carebn", "vanilla", "none"],
    "many and long": [f"{LONG}={number}" for number in range(14)],
    "longer than the picture": [f"{LONG}, {LONG}, {LONG}={number}" for number in range(3)],
    "one word": ["W" * 300, "i" * 300, "y"],
    "no formula": [r"$\frac{$", "$a_b$ ^ {", "\\"],
}


QUICK = [*(("curves", kind, 1) for kind in NAMES), ("profiles", "many and long", 2)]
PICTURES = [
    pytest.param(
        kind, names, panels, marks=[] if (kind, name, panels) in QUICK else pytest.mark.slow
    )
    for kind in ("curves", "profiles")
    for name, names in NAMES.items()
    for panels in (1, 2)
]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("kind", "names", "panels"), PICTURES)
def test_the_legend_lies_below_the_data_and_in_the_picture(
    kind: str, names: list[str], panels: int, tmp_path: Path
) -> None:
    members = final_runs(tmp_path / "a", [1.0, 2.0])
    if panels > 1:
        members += final_runs(tmp_path / "b", [3.0], env="pendulum")
    groups = {name: members for name in names}
    if kind == "curves":
        figure = plots.plot_curves(groups)
    else:
        with patch.object(profiles, "stratified_bootstrap", return_value=(np.ones(200),) * 3):
            figure = profiles.plot_profiles(groups)
    assert figure is not None
    figure.draw_without_rendering()
    (below,) = figure.legends
    renderer = FigureCanvasAgg(figure).get_renderer()
    box, sheet = below.get_window_extent(renderer), figure.bbox
    assert sheet.x0 <= box.x0 < box.x1 <= sheet.x1
    assert sheet.y0 <= box.y0
    for axes in figure.axes:
        panel = axes.get_tightbbox(renderer)
        assert panel is not None
        assert box.y1 <= panel.y0
        # Whatever is in the legend, the data has its room.
        assert axes.get_window_extent(renderer).height > 0.6 * figures.PANEL_HEIGHT * figure.dpi
    shown = [text.get_text().replace("\n", "").replace(" ", "") for text in below.get_texts()]
    counted = {name: " (1 to 2 seeds)" if panels > 1 else " (2 seeds)" for name in names}
    assert shown == [
        f"{name}{counted[name] if kind == 'curves' else ''}".replace(" ", "") for name in names
    ]
    colours = [line.get_color() for line in below.get_lines()]
    assert colours == [style.color for style in map(figures.line_styles(names).get, names) if style]


def tick_labels(axes: Axes) -> list[str]:
    """What stands at the y-axis of a picture, from below."""
    low, high = axes.get_ylim()
    ticks = axes.yaxis.get_major_ticks()
    axes.figure.draw_without_rendering()
    assert axes.yaxis.get_offset_text().get_text() == ""
    assert not any(tick.label1.get_text() for tick in axes.yaxis.get_minor_ticks())
    return [t.label1.get_text() for t in ticks if low <= t.get_loc() <= high]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("first", "last"),
    [(0.2, 0.8), (0.6, 0.7), (0.99, 1.01), (1e-5, 20.0), (1e-4, 1.0), (0.5, 0.5), (3.0, 4000.0)],
)
def test_ticks_of_errors_are_plain_numbers(first: float, last: float, tmp_path: Path) -> None:
    group = runs(tmp_path, 2, errors={0: [first], 100: [last]})
    (axes,) = axes_of(plots.plot_statistics_error({"carebn": group}))
    labels = tick_labels(axes)
    assert 2 <= len(labels) <= 10
    assert all(re.fullmatch(r"\d+(\.\d+)?", label) for label in labels)
    assert [float(label) for label in labels] == sorted({float(label) for label in labels})


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-2e5, 3e6), (1000.001, 1000.004), (-0.003, 0.002), (9e6, 9.0001e6), (-1350, -260)],
)
def test_ticks_of_returns_are_plain_numbers(low: float, high: float, tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", {0: [low], 100: [high]}))
    (axes,) = axes_of(plots.plot_curves({"carebn": [run]}))
    labels = tick_labels(axes)
    assert len(set(labels)) == len(labels) > 2
    assert all(re.fullmatch(r"\N{MINUS SIGN}?\d+(\.\d+)?", label) for label in labels)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6, "0.6"),
        (0.1 + 0.2, "0.3"),
        (-1200, "\N{MINUS SIGN}1200"),
        (0.0, "0"),
        (250000.0, "250000"),
        (0.00002, "0.00002"),
        (3e12, "3e+12"),
        (1e300, "1e+300"),
        (-4e-9, "-4e-09"),
    ],
)
def test_plain(value: float, text: str) -> None:
    assert figures.plain(value) == text


def test_errors_that_are_all_zero_have_a_picture(tmp_path: Path) -> None:
    group = runs(tmp_path, 2, errors={0: [0.0], 100: [0.0]})
    (axes,) = axes_of(plots.plot_statistics_error({"carebn": group}))
    assert axes.get_yscale() == "linear"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("suffix", figures.FORMATS)
def test_a_figure_is_the_same_file_every_time(suffix: str, tmp_path: Path) -> None:
    groups = {"carebn": runs(tmp_path / "a", 2), "vanilla": runs(tmp_path / "b", 2, bn="vanilla")}
    files = [tmp_path / name / f"curves.{suffix}" for name in ("one", "two")]
    for file in files:
        figure = plots.plot_curves(groups)
        assert figure is not None
        figures.save(figure, file)
    one, two = (file.read_bytes() for file in files)
    assert one == two
    assert not re.search(rb"CreationDate|<dc:date>|20\d\d-\d\d-\d\d", one)


def test_letters_of_a_vector_picture_are_text(tmp_path: Path) -> None:
    figure = plots.plot_curves({"carebn": runs(tmp_path / "a", 2)})
    assert figure is not None
    for suffix in ("svg", "pdf"):
        figures.save(figure, tmp_path / f"curves.{suffix}")
    text = (tmp_path / "curves.svg").read_text()
    for part in ("carebn (2 seeds)", "environment steps", "HalfCheetah-v4"):
        assert f">{part}</text>" in text
    assert re.search(rb"/Subtype /(CIDFontType2|TrueType)", (tmp_path / "curves.pdf").read_bytes())
    assert rb"/Type3" not in (tmp_path / "curves.pdf").read_bytes()


def test_names_of_a_stranger_have_a_picture(tmp_path: Path) -> None:
    names = ["\ud800", "\x1b[2J", "_x", r"$\frac{$", "x" * 4000]
    figure = plots.plot_curves({name: runs(tmp_path / str(i), 1) for i, name in enumerate(names)})
    assert figure is not None
    figure.draw_without_rendering()
    (below,) = figure.legends
    shown = [text.get_text().replace("\n", "") for text in below.get_texts()]
    assert [text.removesuffix(" (1 seed)") for text in shown[:4]] == [
        r"\ud800",
        r"\x1b[2J",
        "_x",
        r"$\frac{$",
    ]
    assert len(shown[4]) < 1100
