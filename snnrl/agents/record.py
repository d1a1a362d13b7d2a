"""What an agent's spiking layers do with observations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snnrl.nn.activity import Activity
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.traces import Trace, traced

Recording = dict[str, dict[str, Trace]]
"""Part (``actor``, ``critic``, ``q_network``) -> layer (``layers.0``, ``conv.layers.1``; of one of
several critics ``networks.0.layers.0``) -> its trace."""


@torch.no_grad()
def record(parts: Mapping[str, nn.Module], inputs: Mapping[str, tuple[Tensor, ...]]) -> Recording:
    """Return the traces of every spiking layer, in evaluation mode.

    :param parts: networks by name; ordinary ones have no traces
    :param inputs: what each is called with
    """
    recording: Recording = {}
    for name, part in parts.items():
        with evaluation_mode(part), traced(part) as traces:
            part(*inputs[name])
        if traces:
            recording[name] = {layer_name(path): trace for path, trace in traces.items()}
    return recording


def logged_values(name: str, seen: Activity) -> dict[str, float]:
    """Return the firing rates, gains and regulated thresholds of a part for a logger.

    :param name: of the part
    :param seen: its activity
    :return: ``firing_rate/actor.layers.0``, ``gain_mean/actor.layers.0``, ...
    """
    rates = {f"firing_rate/{name}.{layer_name(path)}": rate for path, rate in seen.rates.items()}
    gains = {
        f"{gain}/{name}.{layer_name(path)}": value
        for values in (seen.gains, seen.thresholds)
        for path, found in values.items()
        for gain, value in found.items()
    }
    return {**rates, **gains}


def layer_name(path: str) -> str:
    """Return a layer's name in its part: ``network.layers.0`` is ``layers.0``."""
    return path.removeprefix("network.")
