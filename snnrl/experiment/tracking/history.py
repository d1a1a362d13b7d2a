"""Curves of a run from its csv files, as trackers show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.run_format.progress import LENGTH, RETURN, is_of_evaluation
from snnrl.run_format.statistics_error import MEASURES

FROM_EVALUATIONS = {RETURN: "return", LENGTH: "length"}
"""Curve -> column of ``evaluations.csv``."""


def history(folder: RunFolder) -> Iterator[tuple[int, dict[str, float]]]:
    """Return every step that the tables have a row of, in order, with all its values.

    ``evaluation/return`` and ``evaluation/length`` are means over the episodes of
    ``evaluations.csv``. If an earlier version extended a run, ``progress.csv`` keeps those of an
    evaluation that was removed.

    :return: environment steps and name -> value, with the names that a live run logs
    """
    curves: dict[int, dict[str, float]] = defaultdict(dict)
    for row in folder.table("progress").rows():
        curves[int(row["timesteps"])] |= {
            name: float(value)
            for name, value in row.items()
            if value and name != "timesteps" and not is_of_evaluation(name)
        }
    for row in folder.table("statistics_error").rows():
        curves[int(row["timesteps"])] |= statistics_values(row)
    episodes: dict[int, list[dict[str, str]]] = defaultdict(list)
    for row in folder.table("evaluations").rows():
        episodes[int(row["timesteps"])].append(row)
    for step, rows in episodes.items():
        for name, column in FROM_EVALUATIONS.items():
            curves[step][name] = fmean(float(row[column]) for row in rows)
    yield from sorted(curves.items())


def statistics_values(row: Mapping[str, Any]) -> dict[str, float]:
    """Return one row of ``statistics_error.csv`` as curves: name -> value."""
    where = f"statistics_error/{row['data']}/{row['phase']}/{row['layer']}"
    return {f"{where}/{measure}": float(row[measure]) for measure in MEASURES}
