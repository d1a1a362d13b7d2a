"""Performance profiles, as a figure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import numpy as np
from matplotlib.figure import Figure

from snnrl.analysis.bootstrap import RESAMPLES, Scores, performance_profile, stratified_bootstrap
from snnrl.analysis.figures import band_alpha, decorate, line_styles, panels
from snnrl.analysis.grids import LABELS
from snnrl.analysis.grouping import Groups, by_environment
from snnrl.analysis.runs import measures
from snnrl.analysis.statistics import Floats
from snnrl.analysis.table import returns_of

POINTS = 200

Scored = Mapping[str, Mapping[str, Floats]]
"""``{environment: {group: [seeds]}}``"""


def plot_profiles(
    groups: Groups, *, metric: str = "final", baseline: str | None = None
) -> Figure | None:
    """Plot the share of runs whose return is above tau: one panel per environment, one line per
    group.

    With a baseline and several environments in which its mean return is positive, a last panel
    pools those of them that every group has, each return divided by the baseline's mean.

    :param metric: metric of a run, a key of ``METRICS``
    :return: None if no run has a result
    """
    returns, runs = returns_of(groups)[metric], by_environment(groups)
    found: list[tuple[str, str, dict[str, list[Floats]]]] = [
        (
            environment,
            f"{LABELS[metric]} {measures(chain(*runs[environment].values()))}",
            {n: [x] for n, x in cells.items()},
        )
        for environment, cells in returns.items()
        if cells
    ]
    shared = _shared(returns, baseline) if baseline is not None else {}
    if shared:
        title = f"{len(shared)} environments"
        pooled = {
            name: [cells[name] / cells[str(baseline)].mean() for cells in shared.values()]
            for name in next(iter(shared.values()))
        }
        word = measures(chain.from_iterable(chain(*runs[each].values()) for each in shared))
        found.append((title, f"{LABELS[metric]} {word} / {baseline}", pooled))
    if not found:
        return None
    caption = (
        f"share of runs above tau; band: 95 %, stratified bootstrap over seeds, "
        f"{RESAMPLES:,} resamples, pointwise"
    )
    styles = line_styles(list(groups))
    drawn = {name for _, _, scores in found for name in scores}
    legend = {name: styles[name] for name in groups if name in drawn}
    figure, grid = panels(len(found), caption, legend)
    for axes, (title, xlabel, scores) in zip(grid, found, strict=True):
        decorate(axes, title, f"tau: {xlabel}", "share of runs above tau")
        taus = _taus([x for group in scores.values() for x in group])
        alpha = band_alpha(len(scores))
        for name, group in scores.items():
            profile, low, high = stratified_bootstrap(performance_profile(taus), group)
            color, linestyle = styles[name]
            axes.fill_between(taus, low, high, color=color, alpha=alpha, linewidth=0)
            axes.plot(taus, profile, color=color, linestyle=linestyle)
        axes.set_ylim(-0.03, 1.03)
    return figure


def _shared(returns: Scored, baseline: str) -> Scored:
    """Return the environments that every group has, with a positive mean of the baseline; none if
    only one."""
    names = {name for cells in returns.values() for name in cells}
    shared = {
        environment: cells
        for environment, cells in returns.items()
        if set(cells) == names and baseline in cells and cells[baseline].mean() > 0
    }
    return shared if len(shared) > 1 else {}


def _taus(scores: Scores) -> Floats:
    """Return thresholds ``[POINTS]``, from below the lowest score to above the highest."""
    pooled = np.concatenate(list(scores))
    margin = 0.03 * float(np.ptp(pooled)) or 1.0
    return np.linspace(pooled.min() - margin, pooled.max() + margin, POINTS)
