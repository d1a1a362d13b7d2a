from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
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


def drawn_axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of the pictures saved from here on."""
    axes: list[Axes] = []
    save = figures.save

    def spy(figure: Figure, path: str | Path) -> None:
        axes.extend(figure.axes)
        save(figure, path)

    monkeypatch.setattr(plots, "save", spy)
    monkeypatch.setattr(profiles, "save", spy)
    return axes


def points(line: Line2D) -> np.ndarray:
    """``[n, 2]``"""
    return np.asarray(line.get_xydata())


def assert_picture(path: Path) -> None:
    pixels = imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_axes(monkeypatch)
    groups = {
        "carebn": runs(tmp_path / "a", 3) + runs(tmp_path / "b", 1, env="pendulum"),
        "vanilla": runs(tmp_path / "c", 6, bn="vanilla"),
    }
    assert plots.plot_curves(groups, tmp_path / "new" / "curves.png")
    assert_picture(tmp_path / "new" / "curves.png")
    cheetah, pendulum = axes
    assert (cheetah.get_title(), pendulum.get_title()) == ("HalfCheetah-v4", "Pendulum-v1")
    assert (cheetah.get_xlabel(), cheetah.get_ylabel()) == ("environment steps", "return")
    _, labels = cheetah.get_legend_handles_labels()
    assert labels == ["carebn (3 seeds)", "vanilla (6 seeds)"]
    assert pendulum.get_legend_handles_labels()[1] == ["carebn (1 seed)"]
    # Means of both groups, and the three single seeds of the first but not the six of the second.
    assert len(cheetah.lines) == 2 + 3
    assert np.allclose(points(cheetah.lines[0]), np.array([[0, 1.5], [50, 12], [100, 25.5]]))
    (band, _) = cheetah.collections
    bottom, top = band.get_datalim(cheetah.transData).intervaly
    # t(0.975, 2) = 4.302653: three seeds one apart, and half apart.
    assert (bottom, top) == pytest.approx((1.5 - 4.302653 / 3**0.5, 25.5 + 0.5 * 4.302653 / 3**0.5))


def test_failed_runs_are_not_drawn(tmp_path: Path) -> None:
    failed = runs(tmp_path / "a", 2, status="FAILED")
    assert not plots.plot_curves({"carebn": failed}, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_single_evaluation_is_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_axes(monkeypatch)
    run = load_run(write_run(tmp_path / "run", {0: [1.0]}))
    assert plots.plot_curves({"carebn": [run]}, tmp_path / "curves.png")
    assert axes[0].lines[0].get_marker() == "o"


def test_seeds_without_a_common_step_are_drawn_singly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn_axes(monkeypatch)
    group = [
        load_run(write_run(tmp_path / "a", {1: [1.0], 3: [2.0]})),
        load_run(write_run(tmp_path / "b", {2: [1.0], 4: [2.0]})),
    ]
    assert plots.plot_curves({"carebn": group}, tmp_path / "curves.png")
    assert [len(points(line)) for line in axes[0].lines] == [0, 2, 2]


def test_statistics_error_is_that_of_the_statistics_that_acted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn_axes(monkeypatch)
    group = runs(tmp_path / "a", 2, errors={0: [1.0, 3.0], 100: [0.1, 0.3]})
    others = runs(tmp_path / "b", 2, bn="none")
    path = tmp_path / "statistics_error.png"
    assert plots.plot_statistics_error({"carebn": group, "none": others}, path)
    assert_picture(path)
    assert axes[0].get_yscale() == "log"
    assert axes[0].get_legend_handles_labels()[1] == ["carebn (2 seeds)"]
    assert np.allclose(points(axes[0].lines[0]), np.array([[0, 2.0], [100, 0.2]]))


def test_no_statistics_error_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "statistics_error.png"
    assert not plots.plot_statistics_error({"carebn": runs(tmp_path / "a", 1)}, path)
    assert not path.exists()


def test_a_group_keeps_its_colour() -> None:
    strategies = ["none", "vanilla", "carebn", "ca_only", "re_only"]
    together = figures.line_styles(strategies)
    assert len({style.color for style in together.values()}) == len(strategies)
    for name in strategies:
        assert figures.line_styles([name])[name] == together[name]


def test_many_groups_are_told_apart() -> None:
    names = [f"group {number}" for number in range(20)]
    assert len(set(figures.line_styles(names).values())) == 20


def test_curves_over_wall_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_axes(monkeypatch)
    returns = {0: [0.0], 50: [10.0], 100: [20.0]}
    group = [
        load_run(write_run(tmp_path / str(n), returns, seed=n, clock={0: 0, 100: 60 * minutes}))
        for n, minutes in enumerate((2, 4))
    ]
    timeless = load_run(write_run(tmp_path / "timeless", returns, seed=2))
    path = tmp_path / "wall_time.png"
    assert plots.plot_wall_time({"carebn": [*group, timeless]}, path)
    assert_picture(path)
    assert axes[0].get_xlabel() == "wall time (minutes)"
    assert axes[0].get_legend_handles_labels()[1] == ["carebn (2 seeds)"]
    mean, fast, slow = (points(line) for line in axes[0].lines)
    assert mean[-1].tolist() == [2, 15]
    assert fast.tolist() == [[0, 0], [1, 10], [2, 20]]
    assert slow.tolist() == [[0, 0], [2, 10], [4, 20]]
    assert not plots.plot_wall_time({"carebn": [timeless]}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_evaluations_beyond_the_clock_are_not_drawn_over_it(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path / "run", {0: [1.0], 50: [2.0], 100: [3.0]}, clock={50: 60}))
    assert plots.wall_time_curve(run).to_dict() == {1: 2}


def final_runs(folder: Path, finals: list[float], **settings: Any) -> list[Run]:
    return [
        load_run(write_run(folder / str(seed), {0: [0.0], 100: [top]}, seed=seed, **settings))
        for seed, top in enumerate(finals)
    ]


def test_performance_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = drawn_axes(monkeypatch)
    groups = {
        "carebn": final_runs(tmp_path / "a", [1.0, 2.0, 3.0, 4.0]),
        "vanilla": final_runs(tmp_path / "b", [2.0]) + runs(tmp_path / "c", 1, status="FAILED"),
    }
    path = tmp_path / "profiles.png"
    assert profiles.plot_profiles(groups, path, baseline="vanilla")
    assert_picture(path)
    (panel,) = axes
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


def test_profiles_of_several_environments_are_pooled_beside_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = drawn_axes(monkeypatch)
    groups = {
        "carebn": final_runs(tmp_path / "a", [2.0, 4.0])
        + final_runs(tmp_path / "b", [20.0, 20.0], env="pendulum"),
        "vanilla": final_runs(tmp_path / "c", [1.0, 3.0])
        + final_runs(tmp_path / "d", [10.0, 10.0], env="pendulum"),
    }
    assert profiles.plot_profiles(groups, tmp_path / "p.png", baseline="vanilla")
    assert [panel.get_title() for panel in axes] == [
        "HalfCheetah-v4",
        "Pendulum-v1",
        "2 environments",
    ]
    taus, share = points(axes[2].lines[0]).T
    assert share == pytest.approx([np.mean([x > tau for x in (1, 2, 2, 2)]) for tau in taus])


def test_no_result_no_profile(tmp_path: Path) -> None:
    failed = runs(tmp_path / "a", 2, status="FAILED")
    assert not profiles.plot_profiles({"carebn": failed}, tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()
