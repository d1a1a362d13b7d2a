"""Tools that read NIR graphs, and what each makes of one."""

from __future__ import annotations

from typing import NamedTuple

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
