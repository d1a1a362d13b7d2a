"""A comparison as markdown and as CSV; one run as a small table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from snnrl.analysis.bootstrap import Interval
from snnrl.analysis.comparison import Comparison
from snnrl.analysis.grids import DEFINITIONS, align, markdown, number
from snnrl.analysis.plots import plot_run
from snnrl.analysis.run_folders import load_run
from snnrl.analysis.table import Overall, Row
from snnrl.errors import UserError
from snnrl.text import as_markdown, printable

SUMMARY_ROWS = 10
ALL = "all"
"""Environment name of the rows of table.csv that average over environments."""


def to_markdown(comparison: Comparison) -> str:
    """Return the tables, with definitions and warnings as lists below them."""
    parts = [as_markdown(comparison.heading)]
    for title, grids in comparison.sections():
        parts.append(f"## {as_markdown(title)}")
        for grid in grids:
            parts += [f"**{as_markdown(grid.title)}**", markdown(grid)]
    parts += ["## Definitions", _list(DEFINITIONS)]
    if comparison.notes:
        parts += ["## Warnings", _list(comparison.notes)]
    return "\n\n".join(parts) + "\n"


def to_csv(comparison: Comparison) -> str:
    """Return a table with one column per number; unavailable values are empty.

    ``<metric>_{mean,sd,low,high}``, ``<metric>_iqm[_low|_high]``, ``<metric>_improvement...``; in
    the rows of environment ``all`` also ``<metric>_normalised_iqm...`` and ``<metric>_apg...``.
    """
    records = [_row(row, comparison.baseline) for row in comparison.rows]
    records += [_overall(row, comparison.baseline) for row in comparison.overall]
    # With dtype object, integers stay integers beside empty cells.
    cells = [{name: _cell(value) for name, value in record.items()} for record in records]
    return str(pd.DataFrame(cells, dtype=object).to_csv(index=False))


def summarise_run(folder: str | Path, png_path: str | Path) -> str:
    """Plot one run's learning curve and return it as a small table.

    :param folder: a run folder
    :param png_path: file of the plot, with one sample standard deviation over the episodes as a
        band
    :return: about ten evenly chosen evaluations, the first and the last among them: environment
        steps, mean return and sample standard deviation over the evaluation's episodes
    :raises UserError: the folder is not a run's, or has no evaluation
    """
    run = load_run(folder)
    if run.evaluations.empty:
        raise UserError(f"{folder}: the run has no evaluation")
    plot_run(run, png_path)
    returns = run.evaluations.groupby("timesteps")["return"].agg(["mean", "std"])
    rows = np.linspace(0, len(returns) - 1, min(SUMMARY_ROWS, len(returns))).round().astype(int)
    cells = [["steps", f"mean {run.measure}", "sd"]]
    for step, values in returns.iloc[rows].iterrows():
        cells.append([str(step), number(values["mean"]), number(values["std"])])
    return align(cells)


def _cell(value: object) -> object:
    """Return a text that no spreadsheet reads as a formula and no terminal as a command."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(("=", "+", "-", "@")) else printable(value)


def _row(row: Row, baseline: str | None) -> dict[str, object]:
    record: dict[str, object] = {
        "environment": row.environment,
        "group": row.group,
        "baseline": baseline,
        "seeds": " ".join(map(str, row.seeds)),
        "runs": len(row.seeds),
        "failed": row.failed,
        "unfinished": row.unfinished,
        "steps": " ".join(map(str, row.steps)),
    }
    for metric, estimate in row.estimates.items():
        record |= {f"{metric}_{k}": value for k, value in estimate._asdict().items()}
    for metric, iqm in row.iqm.items():
        record |= _columns(f"{metric}_iqm", iqm)
    for metric, improvement in row.improvement.items():
        record |= _columns(f"{metric}_improvement", improvement)
    # A paper's number comes before another group's; one with a standard deviation comes first.
    for entry in sorted(row.published, key=lambda entry: math.isnan(entry.std))[:1]:
        record |= {
            "published_method": entry.method,
            "published_mean": entry.mean,
            "published_sd": entry.std,
            "published_seeds": entry.seeds,
            "published_steps": entry.steps,
            "published_source": entry.source,
        }
    return record


def _overall(row: Overall, baseline: str | None) -> dict[str, object]:
    record: dict[str, object] = {
        "environment": ALL,
        "group": row.group,
        "baseline": baseline,
        "environments": " ".join(row.environments),
        "positive_environments": " ".join(row.positive),
    }
    for name, numbers in (
        ("improvement", row.improvement),
        ("normalised_iqm", row.iqm),
        ("apg", row.gain),
    ):
        for metric, value in numbers.items():
            record |= _columns(f"{metric}_{name}", value)
    return record


def _columns(name: str, value: Interval) -> dict[str, object]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {as_markdown(line)}" for line in lines)
