"""What the readers of exported files make of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnrl.deploy.runtime import Normaliser
from snnrl.errors import UserError, expect


class Dialect(NamedTuple):
    """What a tool makes of a graph.

    :param dt: its time step in seconds
    :param uses_r: whether it multiplies the current of ``nir.LIF`` by r
    :param own_thresholds: whether each neuron of a layer can have its own
    """

    dt: float
    uses_r: bool
    own_thresholds: bool


DIALECTS = {
    "generic": Dialect(1e-4, uses_r=True, own_thresholds=True),
    "snntorch": Dialect(1e-4, uses_r=True, own_thresholds=False),
    "spikingjelly": Dialect(1e-4, uses_r=True, own_thresholds=False),
    "norse": Dialect(1e-3, uses_r=False, own_thresholds=True),
    "lava": Dialect(1e-4, uses_r=False, own_thresholds=True),
}

REFUSED = {
    "rockpool": "its neurons lose the threshold at a spike, and those of the agent are reset to 0"
}
"""Tools that cannot spike alike, and why."""


def check_target(target: str) -> None:
    """Check the name of a tool.

    :raises UserError: unknown, or one that cannot spike alike
    """
    if target in REFUSED:
        raise UserError(
            f"--target {target}: {REFUSED[target]}; expected one of {', '.join(DIALECTS)}"
        )
    expect("--target", target, DIALECTS)


FARTHEST = 1e3
"""Largest mean, in standard deviations, of observations in single precision: they are then told
apart to 1e-4 deviations."""


def check_single_precision(normaliser: Normaliser, kind: str) -> None:
    """Check that observations in single precision can be normalised.

    :param kind: the format
    :raises UserError: a dimension is so far from 0 that they cannot
    """
    distance = np.abs(normaliser.mean / normaliser.std).ravel()
    if (farthest := int(distance.argmax())) >= 0 and distance[farthest] > FARTHEST:
        raise UserError(
            f"--format {kind}: observation {farthest} is {distance[farthest]:.3g} standard "
            "deviations from 0, which single precision does not tell apart; expected --format numpy"
        )
