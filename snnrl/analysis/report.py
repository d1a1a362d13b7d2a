"""Tables of runs: for the terminal, as markdown and as CSV, and what must be known beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from snnrl.analysis.plots import plot_run
from snnrl.analysis.runs import Run, load_run
from snnrl.analysis.statistics import (
    LAST,
    Estimate,
    common_steps,
    final_return,
    last_return,
    maximum_of_mean,
    mean_interval,
    mean_of_maxima,
    mean_returns,
)
from snnrl.errors import UserError

Groups = Mapping[str, Sequence[Run]]

METRICS = {
    "final": "final",
    "last_10": "last 10",
    "max_of_seeds": "max of each seed",
    "max_of_mean": "max of mean curve",
}
DEFINITIONS = (
    "mean over seeds [95 % interval of the mean, Student's t]; sample deviations: csv",
    f"final: last evaluation; last 10: mean of the last {LAST} evaluations; max of each seed: "
    "maximum over training, then mean over seeds; max of mean curve: mean over seeds, then maximum",
    "both maxima are biased upwards, the more so the more evaluations there are",
)
SUMMARY_ROWS = 10


@dataclass(frozen=True)
class Row:
    """One group in one environment.

    :param seeds: of the runs that enter the estimates
    :param failed: number of runs that failed; they do not enter
    :param unfinished: number of runs that are not done; they enter as far as they were evaluated
    :param estimates: by the keys of ``METRICS``
    """

    environment: str
    group: str
    seeds: list[int]
    failed: int
    unfinished: int
    estimates: dict[str, Estimate]


def make_table(groups: Groups) -> list[Row]:
    """One row a group and environment, ordered by environment.

    :param groups: runs by the group's name
    """
    return [
        _make_row(environment, name, runs)
        for environment, cells in _by_environment(groups).items()
        for name, runs in cells.items()
    ]


def make_notes(groups: Groups) -> list[str]:
    """What a reader must know to trust the table: runs that failed or are not done, and steps,
    seeds, settings or versions that differ among what is compared."""
    notes = []
    for environment, cells in _by_environment(groups).items():
        notes += _difference_notes(environment, cells)
        for name, runs in cells.items():
            notes += _group_notes(f"{environment}, {name}", runs)
    runs = [run for members in groups.values() for run in members]
    return [
        *notes,
        *_interval_notes(make_table(groups)),
        *_version_notes(runs),
        *_status_notes(runs),
    ]


def to_text(table: Sequence[Row], notes: Iterable[str]) -> str:
    """Aligned columns for the terminal."""
    return "\n".join([_align(_cells(table)), "", *DEFINITIONS, *(f"note: {n}" for n in notes)])


def to_markdown(table: Sequence[Row], notes: Iterable[str]) -> str:
    """A markdown table with the definitions and the notes as a list below it."""
    header, *rows = _cells(table)
    lines = [header, ["---"] * len(header), *rows]
    grid = ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
    return "\n".join([*grid, "", *(f"- {n}" for n in [*DEFINITIONS, *notes])]) + "\n"


def to_csv(table: Sequence[Row]) -> str:
    """One column a number: ``<metric>_{mean,sd,low,high}``; what cannot be had is empty."""
    records = []
    for row in table:
        record: dict[str, object] = {
            "environment": row.environment,
            "group": row.group,
            "seeds": " ".join(map(str, row.seeds)),
            "runs": len(row.seeds),
            "failed": row.failed,
            "unfinished": row.unfinished,
        }
        for metric, estimate in row.estimates.items():
            record |= {f"{metric}_{k}": value for k, value in estimate._asdict().items()}
        records.append(record)
    return str(pd.DataFrame(records).to_csv(index=False))


def summarise_run(folder: str | Path, png_path: str | Path) -> str:
    """Draw one run's learning curve and tell it in a small table.

    :param folder: a run folder
    :param png_path: where the curve goes, with one sample deviation over the episodes as a band
    :return: about ten evenly chosen evaluations, the first and the last among them: environment
        steps, mean return and sample deviation over the evaluation's episodes
    :raises UserError: the folder is not a run's, or has no evaluation
    """
    run = load_run(folder)
    if run.evaluations.empty:
        raise UserError(f"{folder}: the run has no evaluation")
    plot_run(run, png_path)
    returns = run.evaluations.groupby("timesteps")["return"].agg(["mean", "std"])
    rows = np.linspace(0, len(returns) - 1, min(SUMMARY_ROWS, len(returns))).round().astype(int)
    cells = [["steps", "mean return", "sd"]]
    for step, values in returns.iloc[rows].iterrows():
        cells.append([str(step), _number(values["mean"]), _number(values["std"])])
    return _align(cells, left=0)


def _make_row(environment: str, name: str, runs: Sequence[Run]) -> Row:
    results = _results(runs)
    curves = [mean_returns(run.evaluations) for run in results]
    return Row(
        environment,
        name,
        sorted(run.seed for run in results),
        sum(run.status == "failed" for run in runs),
        sum(run.status == "unfinished" for run in runs),
        {
            "final": mean_interval([final_return(curve) for curve in curves]),
            "last_10": mean_interval([last_return(curve) for curve in curves]),
            "max_of_seeds": mean_of_maxima(curves),
            "max_of_mean": maximum_of_mean(curves),
        },
    )


def _by_environment(groups: Groups) -> dict[str, dict[str, list[Run]]]:
    cells: dict[str, dict[str, list[Run]]] = {}
    for name, runs in groups.items():
        for run in runs:
            cells.setdefault(run.environment, {}).setdefault(name, []).append(run)
    return dict(sorted(cells.items()))


def _results(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.has_result]


def _last_step(run: Run) -> int:
    return int(run.evaluations["timesteps"].max())


def _difference_notes(environment: str, cells: Mapping[str, Sequence[Run]]) -> list[str]:
    results = {name: _results(runs) for name, runs in cells.items() if _results(runs)}
    notes = []
    steps = {name: sorted({_last_step(run) for run in runs}) for name, runs in results.items()}
    if len({step for reached in steps.values() for step in reached}) > 1:
        notes.append(f"{environment}: steps differ: {_list(steps)}")
    seeds = {name: sorted(run.seed for run in runs) for name, runs in results.items()}
    if len({tuple(numbers) for numbers in seeds.values()}) > 1:
        notes.append(f"{environment}: seeds differ: {_list(seeds)}")
    return notes


def _group_notes(label: str, runs: Sequence[Run]) -> list[str]:
    results = _results(runs)
    if not results:
        return [f"{label}: no run has a result"]
    notes = []
    repeated = [seed for seed, times in Counter(run.seed for run in results).items() if times > 1]
    if repeated:
        notes.append(f"{label}: several runs with one seed: {_numbers(repeated)}")
    curves = [mean_returns(run.evaluations) for run in results]
    common = len(common_steps(curves))
    if any(len(curve) > common for curve in curves):
        notes.append(
            f"{label}: the mean curve is over the {common} evaluations that all seeds have"
        )
    fewest = min(len(curve) for curve in curves)
    if fewest < LAST:
        notes.append(f"{label}: 'last {LAST}' is over {fewest}, there are no more evaluations")
    return notes


def _interval_notes(table: Sequence[Row]) -> list[str]:
    single = [f"{row.environment}, {row.group}" for row in table if len(row.seeds) == 1]
    return [f"one seed, so no interval: {'; '.join(single)}"] if single else []


def _version_notes(runs: Sequence[Run]) -> list[str]:
    found: dict[str, set[str]] = {}
    for run in runs:
        for package, version in run.versions.items():
            found.setdefault(package, set()).add(version)
    return [
        f"versions differ: {package} {', '.join(sorted(versions))}"
        for package, versions in sorted(found.items())
        if len(versions) > 1
    ]


def _status_notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        if run.status == "failed":
            notes.append(f"failed, not in the numbers: {run.path}")
        elif run.evaluations.empty:
            notes.append(f"unfinished, not in the numbers, no evaluation yet: {run.path}")
        elif run.status == "unfinished":
            planned = run.settings.get("total_steps", "?")
            notes.append(
                f"unfinished, in the numbers as far as it got "
                f"({_last_step(run)} of {planned} steps): {run.path}"
            )
    return notes


def _list(values: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{name}: {_numbers(numbers)}" for name, numbers in values.items())


def _numbers(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _cells(table: Sequence[Row]) -> list[list[str]]:
    header = ["environment", "group", "seeds", "failed", "unfinished", *METRICS.values()]
    rows = [
        [
            row.environment,
            row.group,
            str(len(row.seeds)),
            str(row.failed),
            str(row.unfinished),
            *(_estimate(row.estimates[metric]) for metric in METRICS),
        ]
        for row in table
    ]
    return [header, *rows]


def _estimate(estimate: Estimate) -> str:
    if np.isnan(estimate.low):
        return _number(estimate.mean)
    return f"{_number(estimate.mean)} [{_number(estimate.low)}, {_number(estimate.high)}]"


def _number(value: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _align(cells: Sequence[Sequence[str]], left: int = 2) -> str:
    """Columns of equal width, the first ``left`` of them flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = (
            cell.ljust(width) if position < left else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)
