"""Published results, for the rows with the same setting as ours.

``published.csv``: maximum average returns, each with the protocol that made it. Of CaRe-BN's
protocol, with TD3, are the table of CaRe-BN (arXiv 2509.23791; of its standard deviations, its DDPG
and its Atari tables no copy was to be had), the tables of Proxy Target (arXiv 2505.24161), which
has some of the same rows with deviations over five seeds (the population's: four agents at 9360 and
one at 75 give the ordinary agent's 7503 ± 3713), and another group's ordinary agents. Last come
numbers of other papers' own protocols, which stand beside none of our runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from snnrl.analysis.protocol import PROTOCOL, follows
from snnrl.analysis.runs import Run

PUBLISHED_FILE = Path(__file__).with_name("published.csv")


class Published(NamedTuple):
    """One published number.

    :param neuron: empty for an ordinary network, also a converted one
    :param mean: maximum average return
    :param std: over seeds; Proxy Target's are the population's, others of unknown kind; NaN if not
        known
    :param seeds: number of seeds; None if not known
    :param steps: environment steps of training; None if not known
    :param protocol: whose settings made it
    :param note: what a reader should know of it; may be empty
    """

    env: str
    method: str
    neuron: str
    algo: str
    mean: float
    std: float
    seeds: int | None
    steps: int | None
    protocol: str
    note: str
    source: str


@cache
def published_results() -> tuple[Published, ...]:
    """Return all rows of the data file."""
    table = pd.read_csv(PUBLISHED_FILE, keep_default_na=False)
    return tuple(
        Published(
            row["env"],
            row["method"],
            row["neuron"],
            row["algo"],
            float(row["mean"]),
            float(row["std"] or "nan"),
            int(row["seeds"]) if row["seeds"] else None,
            int(row["steps"]) if row["steps"] else None,
            row["protocol"],
            row["note"],
            row["source"],
        )
        for row in table.astype(str).to_dict("records")
    )


def comparable_results(environment: str) -> list[Published]:
    """Return the rows of an environment of the one protocol beside whose runs numbers are shown."""
    return [r for r in published_results() if (r.env, r.protocol) == (environment, PROTOCOL)]


def published_beside(environment: str, runs: Sequence[Run]) -> list[Published]:
    """Return the published numbers that these runs stand for; may be empty.

    They stand for a row if all have its settings: see :mod:`snnrl.analysis.protocol`.
    """
    return [
        row
        for row in comparable_results(environment)
        if runs and all(follows(run.settings, row.method, row.neuron, environment) for run in runs)
    ]
