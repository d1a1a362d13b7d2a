"""Neurons that differ by name and compute the same function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def canonical_neuron(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a neuron's settings in a canonical form of those that compute the same function.

    ``dn_mdcsan`` is ``dn`` with another ``tu``; one signed round of ``circulate_firing`` is
    ``ternary``; without adaptation ``alif`` is ``lif``, and so is ``clif`` without a memory of its
    current.

    :param settings: of the neuron, its name included
    """
    neuron = dict(settings)
    without: tuple[str, ...] = ()
    name = neuron.get("name")
    if name == "dn_mdcsan":
        name = "dn"
    elif name == "circulate_firing":
        if neuron.get("signed") and neuron.get("K") == neuron.get("rho") == 1:
            name, without = "ternary", ("K", "signed", "rho")
    elif name == "alif" and neuron.get("beta") == 0:
        name, without = "lif", ("rho", "beta")
    elif name == "clif" and neuron.get("current_decay") == 0:
        name, without = "lif", ("current_decay",)
    return {**{k: v for k, v in neuron.items() if k not in without}, "name": name}
