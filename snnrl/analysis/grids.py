"""Numbers as cells of text, the same in the terminal, markdown and the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snnrl.analysis.bootstrap import RESAMPLES, SEED, Interval
from snnrl.analysis.published import Published, comparable_results
from snnrl.analysis.statistics import LAST, METRICS, Estimate
from snnrl.analysis.table import Overall, Row
from snnrl.text import as_markdown

LABELS = {
    "final": "final",
    "last_10": "last 10",
    "max_of_seeds": "max of each seed",
    "max_of_mean": "max of mean curve",
}
NOTHING = "-"

NO_WIDTH = "(!)"
"""Mark of a bootstrap interval without width."""

DEFINITIONS = (
    "return: the mean over an evaluation's episodes; mean ± sample deviation over seeds "
    "[95 % interval of the mean, Student's t]; of a data set: the accuracy on its test split in %",
    f"final: last evaluation; last 10: mean of the last {LAST} evaluations; max of each seed: "
    "maximum over all evaluations, then mean over seeds; max of mean curve: mean over seeds, then "
    "maximum; all evaluations are those of the untrained network too, such as at step 0",
    "both maxima are biased upwards, the more so the more evaluations there are",
    "IQM: interquartile mean, of the seeds without the lowest and highest quarter, rounded down "
    "(below four seeds it is the mean)",
    "P(better): probability that a seed returns more than a seed of the baseline, ties half; "
    f"{NO_WIDTH}: every seed does, or none, so its interval has no width, which does not mean "
    "certainty",
    "APG: average performance gain, mean over environments of return / the baseline's - 1; "
    "IQM / baseline: of all seeds' returns, each divided by the baseline's mean return in its "
    "environment",
    f"intervals of IQM, P(better) and APG: 95 %, percentiles of a stratified bootstrap over seeds, "
    f"{RESAMPLES:,} resamples, seed {SEED}",
)


@dataclass(frozen=True)
class Grid:
    """A table of text.

    :param left: number of left-aligned columns; the others are numbers
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    left: int = 1


def returns_grid(rows: Sequence[Row]) -> Grid:
    """Return means over seeds of one environment's groups."""
    header = ["group", "seeds", "failed", "unfinished", "steps", *LABELS.values()]
    cells = [
        [
            row.group,
            count_seeds(row.seeds),
            *map(str, (row.failed, row.unfinished)),
            steps(row.steps),
            *(estimate(row.estimates[metric]) for metric in LABELS),
        ]
        for row in rows
    ]
    return Grid("Returns", header, cells)


def robust_grid(rows: Sequence[Row], baseline: str | None) -> Grid:
    """Return interquartile means of one environment's groups, and their comparison with the
    baseline."""
    header = ["group", *(f"IQM {LABELS[metric]}" for metric in METRICS)]
    if baseline is not None:
        header += [f"P(better) {LABELS[metric]}" for metric in METRICS]
    cells = []
    for row in rows:
        line = [row.group, *(interval(row.iqm.get(metric)) for metric in METRICS)]
        if baseline is not None:
            beside = "baseline" if row.group == baseline else NOTHING
            line += [
                probability(row.improvement[metric]) if metric in row.improvement else beside
                for metric in METRICS
            ]
        cells.append(line)
    title = "Interquartile means"
    return Grid(title if baseline is None else f"{title}; beside {baseline}", header, cells)


def overall_grid(rows: Sequence[Overall], baseline: str) -> Grid:
    """Return averages over environments."""
    header = ["group", "return", "environments", "P(better)", "IQM / baseline", "APG %"]
    cells = [
        [
            row.group,
            LABELS[metric],
            ", ".join(
                name if name in row.positive else f"{name} (P only)" for name in row.environments
            ),
            probability(row.improvement[metric]),
            probability(row.iqm.get(metric)),
            gain(row.gain.get(metric)),
        ]
        for row in rows
        for metric in METRICS
    ]
    return Grid(f"Over environments, beside {baseline}", header, cells, left=3)


def published_grid(rows: Sequence[Row]) -> Grid | None:
    """Return the published numbers of one environment, next to ours where a group matches.

    None if no group matches any.
    """
    matched = [entry for row in rows for entry in row.published]
    if not matched:
        return None
    cells = [
        [
            entry.method,
            entry.neuron or NOTHING,
            _published(entry),
            NOTHING if entry.seeds is None else str(entry.seeds),
            NOTHING if entry.steps is None else f"{entry.steps:,}",
            *_ours(entry, rows),
            entry.source,
        ]
        for entry in comparable_results(matched[0].env)
    ]
    header = ["method", "neuron", "published max", "seeds", "steps"]
    header += ["ours", "max of each seed", "our seeds", "our steps"]
    title = (
        f"Published, {matched[0].algo.upper()}: mean ± deviation over seeds (the population's, n, "
        "where known); ours: mean ± sample deviation (n - 1)"
    )
    return Grid(title, [*header, "source"], cells, left=2)


def estimate(value: Estimate) -> str:
    """Return ``mean ± sd [low, high]``, as far as known."""
    text = number(value.mean)
    if not math.isnan(value.sd):
        text += f" ± {number(value.sd)}"
    return text + _brackets(number(value.low), number(value.high))


def interval(value: Interval | None) -> str:
    """Return ``value [low, high]``, as far as known."""
    if value is None:
        return NOTHING
    return number(value.value) + _brackets(number(value.low), number(value.high))


def probability(value: Interval | None) -> str:
    """Return an interval with two digits, marked where every resample has the same value."""
    mark = f" {NO_WIDTH}" if value is not None and value.low == value.high else ""
    return f"{_digits(value, '{:.2f}')}{mark}"


def gain(value: Interval | None) -> str:
    """Return an interval of percentages with signs."""
    return _digits(value, "{:+.1f}")


def count_seeds(of_runs: Sequence[int]) -> str:
    """Return the number of seeds, and that of runs where several have one seed."""
    different = len(set(of_runs))
    return str(different) if different == len(of_runs) else f"{different} ({len(of_runs)} runs)"


def steps(numbers: Sequence[int]) -> str:
    """Return one number of steps, or the range."""
    if not numbers:
        return NOTHING
    if len(numbers) == 1:
        return f"{numbers[0]:,}"
    return f"{numbers[0]:,} to {numbers[-1]:,}"


def number(value: float) -> str:
    """Return a number with one decimal, or with three significant digits below ten."""
    if math.isnan(value):
        return NOTHING
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def markdown(grid: Grid) -> str:
    """Return a markdown table whose columns are also aligned as plain text."""
    lines = [[as_markdown(cell) for cell in line] for line in [grid.header, *grid.rows]]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * w if c < grid.left else "-" * (w - 1) + ":" for c, w in enumerate(widths)]
    padded = [_pad(line, widths, grid.left) for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def align(cells: Sequence[Sequence[str]], left: int = 0) -> str:
    """Return columns of equal width, the first ``left`` of them left-aligned, the others
    right-aligned."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(_pad(line, widths, left)).rstrip() for line in cells)


def _pad(line: Sequence[str], widths: Sequence[int], left: int) -> list[str]:
    return [
        cell.ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]


def _published(entry: Published) -> str:
    deviation = "?" if math.isnan(entry.std) else f"{entry.std:.0f}"
    return f"{entry.mean:.0f} ± {deviation}"


def _ours(entry: Published, rows: Sequence[Row]) -> list[str]:
    found = [row for row in rows if entry in row.published]
    if not found:
        return [NOTHING] * 4
    return [
        "; ".join(row.group for row in found),
        "; ".join(_deviation(row.estimates["max_of_seeds"]) for row in found),
        "; ".join(count_seeds(row.seeds) for row in found),
        "; ".join(steps(row.steps) for row in found),
    ]


def _deviation(value: Estimate) -> str:
    return f"{number(value.mean)} ± {'?' if math.isnan(value.sd) else number(value.sd)}"


def _digits(value: Interval | None, form: str) -> str:
    if value is None:
        return NOTHING
    parts = [NOTHING if math.isnan(part) else form.format(part) for part in value]
    return parts[0] + _brackets(parts[1], parts[2])


def _brackets(low: str, high: str) -> str:
    return "" if low == NOTHING else f" [{low}, {high}]"
