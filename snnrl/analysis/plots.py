"""Figures of curves over training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnrl.analysis.figures import (
    COLOURS,
    STEPS,
    LineStyle,
    band_alpha,
    decorate,
    line_styles,
    log_scale,
    panels,
    save,
)
from snnrl.analysis.grouping import Groups, by_environment
from snnrl.analysis.runs import Run, measures, steps_of
from snnrl.analysis.statistics import common_steps, common_times, interval_band, mean_returns

SINGLE_SEEDS = 5
BAND = "band: 95 % interval of the mean (Student's t)"


@dataclass(frozen=True)
class Curves:
    """One kind of figure.

    :param curve: returns a run's series, which may be empty
    :param together: joins a group's series, ``[points, seeds]``
    :param xlabel, ylabel: of the panel of these runs
    """

    curve: Callable[[Run], pd.Series]
    together: Callable[[Sequence[pd.Series]], pd.DataFrame]
    xlabel: Callable[[Sequence[Run]], str]
    ylabel: Callable[[Sequence[Run]], str]
    scale: str
    caption: str = "mean over seeds"


def plot_curves(groups: Groups) -> Figure | None:
    """Plot learning curves: one panel per environment, one line per group.

    A line is the mean over seeds at the steps that all seeds of the group have, with its pointwise
    95 % interval (Student's t). Up to five seeds are also drawn individually. Runs without a result
    (:attr:`Run.has_result`) are left out.

    :param groups: runs by the group's name
    :return: None if there is nothing to draw
    """
    curves = Curves(
        lambda run: mean_returns(run.evaluations),
        common_steps,
        steps_of,
        measures,
        "linear",
    )
    return _plot(groups, curves)


def plot_wall_time(groups: Groups) -> Figure | None:
    """Plot learning curves over wall time, drawn like :func:`plot_curves`.

    A seed's curve is interpolated linearly between evaluations. A group's mean covers the time span
    that all its seeds have. Runs of unknown wall time are left out.
    """
    caption = "mean over seeds, as far as all have come by then"
    curves = Curves(wall_time_curve, common_times, _wall_time, measures, "linear", caption)
    return _plot(groups, curves)


def plot_statistics_error(groups: Groups) -> Figure | None:
    """Plot the error of the normalisation statistics, drawn like :func:`plot_curves`.

    The error is the absolute difference of means in true standard deviations, which does not depend
    on the scale of a layer's inputs. It is measured on the evaluation episodes' observations, with
    the statistics used in the evaluation (after a re-calibration if there was one), and averaged
    over layers.

    :return: None if no run has such data
    """
    curves = Curves(statistics_error_curve, common_steps, steps_of, _error, "log")
    return _plot(groups, curves)


def _wall_time(runs: Sequence[Run]) -> str:
    return "wall time (minutes)"


def _error(runs: Sequence[Run]) -> str:
    return "error of the moving mean\n(true sd, mean over layers)"


def wall_time_curve(run: Run) -> pd.Series:
    """Return at each evaluation, indexed by minutes since the start; empty if unknown.

    The clock is read where the run logged, and interpolated linearly in between.
    """
    curve, clock = mean_returns(run.evaluations), run.clock
    if clock.empty:
        return pd.Series(dtype=float)
    known = curve.loc[clock.index[0] : clock.index[-1]]
    minutes = np.interp(known.index, clock.index, clock) / 60
    return pd.Series(known.to_numpy(), index=minutes)


def statistics_error_curve(run: Run) -> pd.Series:
    """Return the series of :func:`plot_statistics_error`, indexed by environment steps; may be
    empty."""
    table = run.statistics_error
    if table is None:
        return pd.Series(dtype=float)
    rows = table[table["data"] == "evaluation"]
    # "after" sorts before "before": each layer's first row has the statistics used in the
    # evaluation.
    rows = rows.sort_values("phase").drop_duplicates(["timesteps", "layer"])
    # A mean that skipped missing layers would compare different sets of layers.
    return rows.groupby("timesteps")["mean_error"].agg(lambda layers: layers.mean(skipna=False))


def plot_run(run: Run, path: str | Path) -> None:
    """Plot one run's learning curve, with one sample standard deviation over the episodes.

    :param path: file of the figure; its folder is made
    """
    returns = run.evaluations.groupby("timesteps")["return"]
    mean, sd = returns.mean(), returns.std()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    decorate(axes, run.environment, steps_of([run]), run.measure)
    axes.xaxis.set_major_formatter(STEPS)
    axes.fill_between(mean.index, mean - sd, mean + sd, color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(mean.index, mean, color=COLOURS[0], marker=_marker(mean))
    caption = _evaluated_on(run, episodes=int(returns.size().iloc[0]))
    figure.supxlabel(caption, fontsize="small", color="0.35")
    save(figure, path)


def _evaluated_on(run: Run, episodes: int) -> str:
    if run.measures_accuracy:
        return "on the test split"
    if episodes == 1:
        return "one evaluation episode"
    return f"mean ± sd over {episodes} evaluation episodes"


def _plot(groups: Groups, curves: Curves) -> Figure | None:
    environments = by_environment(groups)
    found = {
        environment: drawn
        for environment, cells in environments.items()
        if (drawn := {name: seeds for name, runs in cells.items() if (seeds := _all(runs, curves))})
    }
    if not found:
        return None
    counts: dict[str, list[int]] = {}
    for cells in found.values():
        for name, seeds in cells.items():
            counts.setdefault(name, []).append(len(seeds))
    singly = any(_draws_single_seeds(count) for numbers in counts.values() for count in numbers)
    styles = line_styles(list(groups))
    figure, grid = panels(
        len(found),
        f"{curves.caption}; {BAND}{'; thin: single seeds' if singly else ''}",
        {f"{name} ({_seeds(counts[name])})": styles[name] for name in groups if name in counts},
    )
    for axes, (environment, cells) in zip(grid, found.items(), strict=True):
        shown = [run for runs in environments[environment].values() for run in runs]
        decorate(axes, environment, curves.xlabel(shown), curves.ylabel(shown))
        if curves.xlabel is steps_of:
            axes.xaxis.set_major_formatter(STEPS)
        for name, seeds in cells.items():
            together = curves.together(seeds)
            _draw_group(axes, seeds, together, styles[name], band_alpha(len(cells)))
        # The interval of few seeds can be wider than any of their values.
        points = pd.concat([series for seeds in cells.values() for series in seeds])
        margin = 0.05 * (points.max() - points.min()) or 1.0
        if curves.scale == "log" and (points > 0).any():
            log_scale(axes, points[points > 0].min() / 1.2, points.max() * 1.2)
        else:
            axes.set_ylim(points.min() - margin, points.max() + margin)
    return figure


def _seeds(counts: Sequence[int]) -> str:
    """Return how many seeds a group has in the panels."""
    low, high = min(counts), max(counts)
    number = str(low) if low == high else f"{low} to {high}"
    return f"{number} seed" if high == 1 else f"{number} seeds"


def _all(runs: Sequence[Run], curves: Curves) -> list[pd.Series]:
    """Return the runs' curves that are not empty."""
    return [series for run in runs if run.has_result if not (series := curves.curve(run)).empty]


def _draw_group(
    axes: Axes,
    seeds: Sequence[pd.Series],
    together: pd.DataFrame,
    style: LineStyle,
    alpha: float,
) -> None:
    color, linestyle = style
    mean = together.mean(axis=1)
    low, high = interval_band(together.to_numpy(dtype=float).T)
    axes.fill_between(together.index, low, high, color=color, alpha=alpha, linewidth=0)
    axes.plot(
        together.index,
        mean,
        color=color,
        linestyle=linestyle,
        marker=_marker(mean),
    )
    if _draws_single_seeds(len(seeds)):
        for seed in seeds:
            axes.plot(seed.index, seed, color=color, linestyle=linestyle, linewidth=0.7, alpha=0.45)


def _draws_single_seeds(seeds: int) -> bool:
    return 1 < seeds <= SINGLE_SEEDS


def _marker(series: pd.Series) -> str:
    # A single evaluation has no visible line.
    return "o" if len(series) == 1 else ""
