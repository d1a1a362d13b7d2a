"""Returns of a converted agent over its time steps, as a table and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from snnrl.analysis.figures import band_alpha, decorate, line_styles, panels
from snnrl.analysis.statistics import Estimate, mean_interval

CAPTION = "mean over episodes; band: 95 % interval of the mean (Student's t)"
ORDINARY = "ordinary network"


class Conversion(NamedTuple):
    """Episodes of an agent, ordinary or converted.

    :param time_steps: T; ``None``: the ordinary network
    :param correction: share of the residual that is carried to the next action; 0: none; ``None``:
        the ordinary network
    :param returns: of each episode
    :param difference: mean absolute difference from the ordinary network's actions on the same
        observations: of actions scaled to [-1, 1], or the share of other discrete actions
    :param above: share of the ordinary network's activations in its episodes that are above the
        thresholds of the conversion
    """

    time_steps: int | None
    correction: float | None
    returns: list[float]
    difference: float
    above: float

    @property
    def label(self) -> str:
        """Return the name of its line in a picture."""
        if self.correction is None:
            return ORDINARY
        return f"converted, correction {self.correction:g}" if self.correction else "converted"

    @property
    def estimate(self) -> Estimate:
        """Return mean, deviation and interval of the returns."""
        return mean_interval(self.returns)


def to_csv(rows: Sequence[Conversion]) -> str:
    """Return a table with a row for each network; values that do not exist are empty."""
    records = [
        {
            "time_steps": row.time_steps,
            "correction": row.correction,
            "episodes": len(row.returns),
            **{f"return_{name}": value for name, value in row.estimate._asdict().items()},
            "action_difference": row.difference,
            "share_above_threshold": row.above,
        }
        for row in rows
    ]
    return str(pd.DataFrame(records, dtype=object).to_csv(index=False))


def plot_conversion(rows: Sequence[Conversion], environment: str) -> Figure:
    """Plot the return over time steps, a line for each correction and one for the ordinary network.

    :param rows: of one agent in one environment
    """
    labels = list(dict.fromkeys(row.label for row in rows))
    styles = line_styles(labels)
    figure, (axes,) = panels(1, CAPTION, styles)
    decorate(axes, environment, "time steps T", "return")
    steps = sorted({row.time_steps for row in rows if row.time_steps is not None})
    for label in labels:
        group = [row for row in rows if row.label == label]
        if label == ORDINARY:
            group = [group[0]._replace(time_steps=step) for step in (steps[0], steps[-1])]
        group.sort(key=lambda row: row.time_steps or 0)
        x = [float(row.time_steps or 0) for row in group]
        estimates = [row.estimate for row in group]
        color, linestyle = styles[label]
        if not math.isnan(estimates[0].low):
            low, high = [e.low for e in estimates], [e.high for e in estimates]
            alpha = band_alpha(len(labels))
            axes.fill_between(x, low, high, color=color, alpha=alpha, linewidth=0)
        marker = "" if label == ORDINARY and len(steps) > 1 else "o"
        axes.plot(x, [e.mean for e in estimates], color=color, linestyle=linestyle, marker=marker)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    return figure
