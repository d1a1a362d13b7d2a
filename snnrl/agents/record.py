"""What an agent's spiking layers do with observations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snnrl.nn.activity import activity
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.norm import BatchNorm
from snnrl.nn.traces import Trace, traced

Recording = dict[str, dict[str, Trace]]
"""Part (``actor``, ``critic``, ``q_network``) -> layer (``layers.0``, ``conv.layers.1``; of one of
several critics ``networks.0.layers.0``) -> its trace."""


@torch.no_grad()
def record(parts: Mapping[str, nn.Module], inputs: Mapping[str, tuple[Tensor, ...]]) -> Recording:
    """Return the traces of every spiking layer, in evaluation mode.

    :param parts: the spiking networks by name
    :param inputs: what each is called with
    """
    recording: Recording = {}
    for name, part in parts.items():
        with evaluation_mode(part), traced(part) as traces:
            part(*inputs[name])
        recording[name] = {layer_name(path): trace for path, trace in traces.items()}
    return recording


def activity_values(name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, float]:
    """Return firing rates and confidence gains of a part for a logger.

    :param name: of the part
    :param inputs: what it is called with
    :return: ``firing_rate/actor.layers.0``, ``gain_mean/actor.layers.0``, ...
    """
    rates = activity(part, *inputs).rates
    values = {f"firing_rate/{name}.{layer_name(path)}": rate for path, rate in rates.items()}
    for path, module in part.named_modules():
        if isinstance(module, BatchNorm):
            layer = layer_name(path.removesuffix(".norm"))
            for gain, value in module.gains().items():
                values[f"{gain}/{name}.{layer}"] = value.mean().item()
    return values


def layer_name(path: str) -> str:
    """Return a layer's name in its part: ``network.layers.0`` is ``layers.0``."""
    return path.removeprefix("network.")
