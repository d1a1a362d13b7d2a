"""Published results, for the rows that stand for the same setting as ours.

``published.csv``: the TD3 table of CaRe-BN (arXiv 2509.23791), maximum average return; of its
standard deviations, its DDPG and its Atari tables no copy was to be had. The same number of another
group's ordinary agents stands beside them, with standard deviations over five seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from snnrl.analysis.runs import Run

METHODS = {"carebn": "CaRe-BN", "vanilla": "tdBN"}
"""The method that our normalisation strategies stand for; ``vanilla``: the paper's standard BN."""

ORDINARY = "ANN"
PUBLISHED_FILE = Path(__file__).with_name("published.csv")


class Published(NamedTuple):
    """One published number.

    :param neuron: empty for an ordinary network
    :param mean: maximum average return
    :param std: over seeds; NaN if not known
    :param steps: environment steps of training; None if not known
    """

    env: str
    method: str
    neuron: str
    algo: str
    mean: float
    std: float
    steps: int | None
    source: str


@cache
def published_results() -> tuple[Published, ...]:
    """All rows of the data file."""
    table = pd.read_csv(PUBLISHED_FILE, keep_default_na=False)
    return tuple(
        Published(
            row["env"],
            row["method"],
            row["neuron"],
            row["algo"],
            float(row["mean"]),
            float(row["std"] or "nan"),
            int(row["steps"]) if row["steps"] else None,
            row["source"],
        )
        for row in table.astype(str).to_dict("records")
    )


def published_beside(environment: str, runs: Sequence[Run]) -> list[Published]:
    """The published numbers of these runs' setting, which may be none.

    They match in environment, algorithm, neuron and normalisation, with an ordinary critic. Sizes
    and step sizes are not looked at: ``experiment=carebn/td3`` has the published ones.
    """
    settings = {_setting(run.settings) for run in runs}
    if len(settings) != 1:
        return []
    algo, method, neuron = settings.pop()
    return [
        row
        for row in published_results()
        if (row.env, row.algo, row.method, row.neuron) == (environment, algo, method, neuron)
    ]


def _setting(settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Algorithm, published method and neuron; an empty method: none stands for it."""
    algo = str(settings.get("algo.name"))
    if settings.get("critic.name") == "spiking":
        return algo, "", ""
    if settings.get("actor.name") == "ann":
        return algo, ORDINARY, ""
    if settings.get("actor.name") != "spiking":
        return algo, "", ""
    neuron = str(settings.get("neuron.name"))
    return algo, METHODS.get(str(settings.get("bn.name")), ""), neuron
