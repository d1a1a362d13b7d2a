"""Draw docs/images/grouping.png: the effect of grouping and smoothing in W&B on a sweep's curves.

The three views are not screenshots. They are drawn here from the csv files of results/quickstart.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snnrl.analysis.figures import COLOURS, STEPS
from snnrl.run_format.config import read_config
from snnrl.run_format.names import PROGRESS, SEED
from snnrl.run_format.progress import RETURN

TOP = Path(__file__).resolve().parent.parent
SMOOTHING = 0.5


def draw(results: Path, picture: Path) -> None:
    """Draw the picture.

    :param results: folder with the runs of a sweep, whose seeds have the same steps if they share
        their other settings
    :param picture: PNG file to write; its folder is created
    """
    groups: dict[str, list[pd.Series]] = {}
    for folder in sorted(results.glob(f"*/*/{SEED}*")):
        config = read_config(folder)
        table = pd.read_csv(folder / PROGRESS, index_col="timesteps")
        groups.setdefault(f"bn={config['bn']['name']}", []).append(table[RETURN].dropna())
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    single, grouped, smoothed = figure.subplots(1, 3, sharey=True)
    for colour, (name, curves) in zip(COLOURS, groups.items(), strict=False):
        for curve in curves:
            single.plot(curve.index, curve, color=colour, lw=1.2)
        _band(grouped, pd.concat(curves, axis=1), colour, name)
        _band(smoothed, pd.concat([smooth(c) for c in curves], axis=1), colour, name)
    titles = ("no group: a line a run", "Group by: Group", f"and smoothing {SMOOTHING}")
    for axes, title in zip((single, grouped, smoothed), titles, strict=True):
        axes.set(title=title, xlabel="timesteps")
        axes.xaxis.set_major_formatter(STEPS)
    single.set_ylabel(RETURN)
    grouped.legend(frameon=False)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=90)


def smooth(curve: pd.Series) -> pd.Series:
    """Return the moving average, divided by the sum of its weights, which is below 1 at first."""
    total, weights, values = 0.0, 0.0, []
    for value in curve:
        total = SMOOTHING * total + (1 - SMOOTHING) * value
        weights = SMOOTHING * weights + (1 - SMOOTHING)
        values.append(total / weights)
    return pd.Series(values, curve.index)


def _band(axes: Axes, seeds: pd.DataFrame, colour: str, name: str) -> None:
    x = np.asarray(seeds.index)
    axes.plot(x, seeds.mean(axis=1), color=colour, lw=2, label=name)
    axes.fill_between(x, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, lw=0)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "docs" / "images" / "grouping.png"
    draw(TOP / "results" / "quickstart", target)
