"""Pictures of runs, as PNG files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from snnrl.analysis.runs import Run
from snnrl.analysis.statistics import common_steps, interval_band, mean_returns

Groups = Mapping[str, Sequence[Run]]

# Okabe and Ito's colours for the colour-blind (https://jfly.uni-koeln.de/color/), without the
# yellow, too light for a line on white, and the second blue, too near the first when in a band.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
SINGLE_SEEDS = 5
PANELS_IN_A_ROW = 3
STEPS = EngFormatter(sep="")


class LineStyle(NamedTuple):
    """How a group looks, in matplotlib's terms."""

    color: str
    linestyle: str


def plot_curves(groups: Groups, path: str | Path) -> bool:
    """Learning curves: a panel an environment, a line a group.

    A line is the mean over seeds at the steps that all of the group's seeds have, with its
    pointwise 95 % interval (Student's t); up to five seeds are drawn singly as well. Runs without a
    result (:attr:`Run.has_result`) are not in it.

    :param groups: runs by the group's name
    :param path: the PNG; its folder is made
    :return: whether there was anything to draw; if not, nothing is written
    """
    return _plot_panels(groups, path, lambda run: mean_returns(run.evaluations), "return", "linear")


def plot_statistics_error(groups: Groups, path: str | Path) -> bool:
    """How far the normalisation statistics are from the truth, drawn like :func:`plot_curves`.

    |Difference of means| in true standard deviations, which does not depend on the scale of a
    layer's inputs; on the evaluation episodes' observations, with the statistics that acted in
    the evaluation (after a re-calibration where one took place); mean over layers.

    :return: whether any run has such data; if not, nothing is written
    """
    label = "error of the moving mean\n(true sd, mean over layers)"
    return _plot_panels(groups, path, statistics_error_curve, label, "log")


def statistics_error_curve(run: Run) -> pd.Series:
    """The series of :func:`plot_statistics_error`, indexed by environment steps; may be empty."""
    table = run.statistics_error
    if table is None:
        return pd.Series(dtype=float)
    rows = table[table["data"] == "evaluation"]
    # "after" sorts before "before": the statistics that acted are each layer's first.
    rows = rows.sort_values("phase").drop_duplicates(["timesteps", "layer"])
    # A mean that passed over a layer without a number would compare different sets of layers.
    return rows.groupby("timesteps")["mean_error"].agg(lambda layers: layers.mean(skipna=False))


def plot_run(run: Run, path: str | Path) -> None:
    """One run's learning curve, with one sample deviation over the evaluation's episodes.

    :param path: the PNG; its folder is made
    """
    returns = run.evaluations.groupby("timesteps")["return"]
    mean, sd = returns.mean(), returns.std()
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    _decorate(axes, run.environment, "return", "linear")
    axes.fill_between(mean.index, mean - sd, mean + sd, color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(mean.index, mean, color=COLOURS[0], marker=_marker(mean))
    episodes = int(returns.size().iloc[0])
    figure.supxlabel(
        f"mean ± sd over {episodes} evaluation episodes", fontsize="small", color="0.35"
    )
    _save(figure, path)


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """Colour and dash of each group.

    Chosen by the name, so that a group looks the same in every picture; of two names that choose
    the same colour, the later one in the alphabet moves on to the next that is free.
    """
    size = len(COLOURS)
    taken: set[int] = set()
    styles: dict[str, LineStyle] = {}
    for name in sorted(names):
        round_ = len(taken) // size
        # This digest, because it gives the normalisation strategies different colours.
        index = int(hashlib.blake2s(name.encode()).hexdigest(), 16) % size
        while round_ * size + index in taken:
            index = (index + 1) % size
        taken.add(round_ * size + index)
        styles[name] = LineStyle(COLOURS[index], LINE_STYLES[round_ % len(LINE_STYLES)])
    return styles


def _plot_panels(
    groups: Groups,
    path: str | Path,
    curve: Callable[[Run], pd.Series],
    label: str,
    scale: str,
) -> bool:
    panels = _panels(groups, curve)
    if not panels:
        return False
    columns = min(len(panels), PANELS_IN_A_ROW)
    rows = math.ceil(len(panels) / columns)
    size = (max(6.4, 4.6 * columns), 4.0 * rows + 0.3)
    figure = Figure(figsize=size)
    figure.set_layout_engine("constrained", wspace=0.06, hspace=0.06)
    styles = line_styles(list(groups))
    for position, (environment, curves) in enumerate(sorted(panels.items()), start=1):
        axes = figure.add_subplot(rows, columns, position)
        _decorate(axes, environment, label, scale)
        for name, seeds in curves.items():
            _draw_group(axes, name, seeds, styles[name])
        # The interval of few seeds can be wider than anything they did.
        points = pd.concat([series for seeds in curves.values() for series in seeds])
        margin = 0.05 * (points.max() - points.min()) or 1.0
        if scale == "linear":
            axes.set_ylim(points.min() - margin, points.max() + margin)
        else:
            axes.set_ylim(points[points > 0].min() / 1.2, points.max() * 1.2)
        axes.legend(frameon=False, fontsize="small")
    band = "mean over seeds; band: 95 % interval of the mean (Student's t); thin: single seeds"
    figure.supxlabel(band, fontsize="small", color="0.35")
    _save(figure, path)
    return True


def _panels(
    groups: Groups, curve: Callable[[Run], pd.Series]
) -> dict[str, dict[str, list[pd.Series]]]:
    """The curves that are not empty, by environment and group."""
    panels: dict[str, dict[str, list[pd.Series]]] = {}
    for name, runs in groups.items():
        for run in runs:
            series = curve(run) if run.has_result else pd.Series(dtype=float)
            if not series.empty:
                panels.setdefault(run.environment, {}).setdefault(name, []).append(series)
    return panels


def _draw_group(axes: Axes, name: str, seeds: Sequence[pd.Series], style: LineStyle) -> None:
    color, linestyle = style
    together = common_steps(seeds)
    mean = together.mean(axis=1)
    low, high = interval_band(together.to_numpy(dtype=float).T)
    count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
    axes.fill_between(together.index, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(
        together.index,
        mean,
        label=f"{name} ({count})",
        color=color,
        linestyle=linestyle,
        marker=_marker(mean),
    )
    if 1 < len(seeds) <= SINGLE_SEEDS:
        for seed in seeds:
            axes.plot(seed.index, seed, color=color, linestyle=linestyle, linewidth=0.7, alpha=0.45)


def _decorate(axes: Axes, title: str, label: str, scale: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(label)
    axes.set_yscale(scale)
    axes.xaxis.set_major_formatter(STEPS)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _marker(series: pd.Series) -> str:
    # A single evaluation has no line to be seen.
    return "o" if len(series) == 1 else ""


def _save(figure: Figure, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
