"""Published results, for the rows with the same setting as ours.

``published.csv``: maximum average return with TD3. First the table of CaRe-BN (arXiv 2509.23791);
of its standard deviations, its DDPG and its Atari tables no copy was to be had. Then the tables of
Proxy Target (arXiv 2505.24161), which has some of the same rows with deviations over five seeds
(the population's: four agents at 9360 and one at 75 give the ordinary agent's 7503 ± 3713). Last,
another group's ordinary agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from snnrl.analysis.runs import Run

METHODS = {
    "carebn": ("CaRe-BN",),
    "vanilla": ("tdBN",),
    "none": ("vanilla LIF", "pop-SAN", "MDC-SAN"),
}
"""The methods that our normalisation strategies stand for. ``vanilla``: the paper's standard BN;
``none``: each with its neuron, as the rows of pop-SAN and MDC-SAN are to the digit those of the
current-based LIF and of the dynamic neuron without normalisation."""

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
            int(row["steps"]) if row["steps"] else None,
            row["source"],
        )
        for row in table.astype(str).to_dict("records")
    )


def published_beside(environment: str, runs: Sequence[Run]) -> list[Published]:
    """Return the published numbers of these runs' setting; may be empty.

    They match in environment, algorithm, neuron and normalisation, with an ordinary critic. Sizes
    and learning rates are ignored: ``experiment=carebn/td3`` has the published ones.
    """
    settings = {_setting(run.settings) for run in runs}
    if len(settings) != 1:
        return []
    algo, methods, neuron = settings.pop()
    return [
        row
        for row in published_results()
        if (row.env, row.algo, row.neuron) == (environment, algo, neuron) and row.method in methods
    ]


def _setting(settings: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
    """Return algorithm, published methods and neuron; no methods if none matches."""
    algo = str(settings.get("algo.name"))
    if settings.get("critic.name") == "spiking" or settings.get("critic.bn.name") is not None:
        return algo, (), ""
    if settings.get("actor.name") == "ann":
        return algo, (ORDINARY,) if settings.get("bn.name") == "none" else (), ""
    if settings.get("actor.name") != "spiking":
        return algo, (), ""
    neuron = str(settings.get("neuron.name"))
    return algo, METHODS.get(str(settings.get("bn.name")), ()), neuron
