"""Page of ``results/paper/``: published numbers beside ours, and the comparison."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.evidence.place import Place
from snnrl import compare
from snnrl.analysis.comparison import Comparison, compare_runs
from snnrl.analysis.grids import Grid, markdown, number, steps
from snnrl.analysis.grouping import grouping_keys
from snnrl.analysis.published import Published, comparable_results
from snnrl.analysis.run_folders import find_runs
from snnrl.analysis.table import Row
from snnrl.errors import UserError
from snnrl.run_format.durable import replace_file
from snnrl.run_format.names import RUNS

NOTHING = "-"

INTRODUCTION = """\
# Published settings, as far as they have run

Made by `make evidence-page` from the run folders beside this file, which
`scripts/evidence.sh collect` copied here ([how the runs are made](../../docs/reproducing.md)).
[The comparison](comparison.html) has intervals, curves and every warning; [the tables](table.md)
are the same as text.

Each number is a maximum over training of the average return: the published one as printed, ours
the mean ± sample deviation over seeds of each seed's maximum, with the seeds and the steps that
they have reached. Published runs have about 1,000,000 steps, and their deviations are the
population's where it is known which. **A maximum over fewer steps or of fewer seeds is another
number**, and is shown only to follow runs that are not finished.
"""


def make_page(place: Place) -> None:
    """Write table, curves, comparison and page of all collected runs.

    :raises UserError: no run was collected, or none has a result
    """
    # Relative, so that no page holds a path of this machine.
    results = Path(os.path.relpath(place.results))
    tags = sorted({file.parents[3] for file in results.glob(f"*/{RUNS}")})
    if not tags:
        raise UserError(f"{results}: no runs there; expected scripts/evidence.sh collect first")
    folders = [str(tag) for tag in tags]
    runs = find_runs(folders)
    comparison = compare_runs(runs, grouping_keys(runs))
    metric = "max_of_seeds"
    command = f"python -m snnrl.compare {' '.join(folders)} --metric {metric} --out {results}"
    for file in compare.write(comparison, results, metric, command):
        print(f"wrote {file}")
    replace_file(results / "README.md", "\n".join(page(comparison, results)).encode())
    print(f"wrote {results / 'README.md'}")


def page(comparison: Comparison, results: Path) -> Iterator[str]:
    """Yield the lines of the page.

    :param results: folder of the picture, which is shown if it exists
    """
    yield INTRODUCTION
    yield markdown(published_table(comparison.rows))
    yield ""
    if (results / "curves.png").exists():
        yield "![Returns over environment steps](curves.png)"
        yield ""
    if comparison.notes:
        yield "## Warnings"
        yield ""
        yield from (f"- {note}" for note in comparison.notes)
        yield ""


def published_table(rows: Sequence[Row]) -> Grid:
    """Return a table with a row per published method and source.

    Two columns per environment hold the published numbers and ours. Our groups without a published
    counterpart come last.
    """
    environments = list(dict.fromkeys(row.environment for row in rows))
    published = _without_repeats([e for env in environments for e in comparable_results(env)])
    lines = {
        (entry.method, entry.neuron or NOTHING, entry.source): [
            cell
            for env in environments
            for cell in _cell_pair(
                [e for e in published if (e.env, *_kind(e)) == (env, *_kind(entry))],
                [row for row in rows if row.environment == env],
            )
        ]
        for entry in published
    }
    unmatched = [row for row in rows if not row.published]
    for group in dict.fromkeys(row.group for row in unmatched):
        own = {row.environment: _cell(row) for row in unmatched if row.group == group}
        cells = [[NOTHING, own.get(env, NOTHING)] for env in environments]
        lines[group, NOTHING, "ours alone"] = [cell for pair in cells for cell in pair]
    header = ["method", "neuron", "source"]
    header += [text for env in environments for text in (f"{env}, published", "ours")]
    return Grid("Published and ours", header, [[*k, *cells] for k, cells in lines.items()], left=3)


def _without_repeats(entries: Sequence[Published]) -> list[Published]:
    """Return the entries without numbers that another table repeats with a standard deviation."""
    known = {(e.env, e.method, e.mean) for e in entries if not math.isnan(e.std)}
    return [e for e in entries if not math.isnan(e.std) or (e.env, e.method, e.mean) not in known]


def _kind(entry: Published) -> tuple[str, str, str]:
    return entry.method, entry.neuron, entry.source


def _cell_pair(entries: Sequence[Published], rows: Sequence[Row]) -> tuple[str, str]:
    """Return the cells of one method and environment: published, and ours."""
    ours = [_cell(row) for row in rows if any(entry in row.published for entry in entries)]
    return _published_cell(entries), "; ".join(ours) or NOTHING


def _published_cell(entries: Sequence[Published]) -> str:
    words = [
        f"{entry.mean:.0f}"
        + ("" if math.isnan(entry.std) else f" ± {entry.std:.0f}")
        + ("" if entry.seeds is None else f" ({entry.seeds} seeds)")
        for entry in entries
    ]
    return "; ".join(words) or NOTHING


def _cell(row: Row) -> str:
    """Return ``3120 ± 85 (3 seeds, 300,000 steps)``, and how many runs are unfinished or failed."""
    value = row.estimates["max_of_seeds"]
    text = number(value.mean) + ("" if math.isnan(value.sd) else f" ± {number(value.sd)}")
    count = f"{len(row.seeds)} seed" + ("" if len(row.seeds) == 1 else "s")
    facts = [count, f"{steps(row.steps)} steps"]
    facts += [f"{row.unfinished} unfinished"] if row.unfinished else []
    facts += [f"{row.failed} failed"] if row.failed else []
    return f"{text} ({', '.join(facts)})"
