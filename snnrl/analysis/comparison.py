"""A comparison: groups of runs, their statistics and the notes on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snnrl.analysis.grids import Grid, overall_grid, published_grid, returns_grid, robust_grid
from snnrl.analysis.grouping import Groups, choose_baseline, group_runs
from snnrl.analysis.notes import baseline_notes, make_notes, overall_notes, published_notes
from snnrl.analysis.runs import Run
from snnrl.analysis.table import Overall, Row, make_overall, make_table
from snnrl.errors import UserError


@dataclass(frozen=True)
class Comparison:
    """Everything that is printed and written, except the figures.

    :param keys: the configuration keys that make a group
    :param baseline: the group that the others are compared with; None if there is only one
    :param chosen: whether the user chose it
    :param notes: warnings
    """

    keys: list[str]
    groups: Groups
    baseline: str | None
    chosen: bool
    rows: list[Row]
    overall: list[Overall]
    notes: list[str]

    @property
    def heading(self) -> str:
        """Return how the runs are grouped, and what they are compared with."""
        text = f"grouped by {', '.join(self.keys)}"
        if self.baseline is None:
            return text
        by = "" if self.chosen else " (by default; --baseline chooses another)"
        return f"{text}; baseline: {self.baseline}{by}"

    def sections(self) -> list[tuple[str, list[Grid]]]:
        """Return titles and tables: one section per environment, and one over all of them."""
        found = []
        for environment in dict.fromkeys(row.environment for row in self.rows):
            rows = [row for row in self.rows if row.environment == environment]
            grids = [returns_grid(rows), robust_grid(rows, self.baseline), published_grid(rows)]
            found.append((environment, [grid for grid in grids if grid is not None]))
        if self.overall and self.baseline is not None:
            found.append(("All environments", [overall_grid(self.overall, self.baseline)]))
        return found


def compare_runs(
    runs: Sequence[Run], keys: Sequence[str], baseline: str | None = None
) -> Comparison:
    """Group the runs and compute their numbers.

    :param keys: full configuration keys
    :param baseline: name of a group, :func:`choose_baseline` if None
    :raises UserError: no run has a result, or there is no such baseline
    """
    if not any(run.has_result for run in runs):
        reasons = [f"{run.name}: {run.reason or 'not evaluated yet'}" for run in runs]
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise UserError(f"no run has a result to compare: {reasons[0]}{more}")
    groups = group_runs(runs, keys)
    chosen = choose_baseline(groups, baseline)
    rows = make_table(groups, chosen)
    overall = [] if chosen is None else make_overall(groups, chosen)
    return Comparison(
        list(keys),
        groups,
        chosen,
        baseline is not None,
        rows,
        overall,
        [
            *make_notes(groups, keys),
            *baseline_notes(groups, chosen),
            *overall_notes(overall),
            *published_notes(rows),
        ],
    )
