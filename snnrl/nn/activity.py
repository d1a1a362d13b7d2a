"""Spiking activity of a network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnrl.nn.eager import eager
from snnrl.nn.encoders import Encoder
from snnrl.nn.layers import SpikingLayer
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import norm_layers
from snnrl.nn.ordinary import NormalisedLayer
from snnrl.nn.traces import counted


class Activity(NamedTuple):
    """Activity of a network in one pass.

    :param rates: name of the layer or encoder -> mean firing rate in [0, 1]
    :param saturation: name of the encoder -> share of its inputs that saturate
    :param gains: name of the layer -> name of the gain -> mean gain of its last update, of layers
        whose update rule adapts gains
    :param thresholds: name of the layer -> name of a value -> what the regulation of its firing
        threshold says, of layers that are regulated
    """

    rates: dict[str, float]
    saturation: dict[str, float]
    gains: dict[str, dict[str, float]]
    thresholds: dict[str, dict[str, float]]


@torch.no_grad()
def activity(network: nn.Module, *inputs: Tensor) -> Activity:
    """Return the activity of each layer and each encoder in a pass in evaluation mode.

    :param network: its mode is restored afterwards
    :param inputs: arguments of the network, ``[B, ...]`` each
    """
    encoded: dict[str, float] = {}
    saturation: dict[str, float] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, Encoder):

            def record(
                module: Encoder, inputs: tuple[Tensor], out: Tensor, key: str = name
            ) -> None:
                if (share := module.saturation(inputs[0])) is not None:
                    saturation[key] = share.item()
                    if module.spikes:
                        encoded[key] = out.mean().item()

            hooks.append(module.register_forward_hook(record))
    try:
        with evaluation_mode(network), eager(network), counted(network) as rates:
            network(*inputs)
            fired = {name: rate.mean().item() for name, rate in rates().items()}
    finally:
        for hook in hooks:
            hook.remove()
    gains = {
        name: {gain: value.mean().item() for gain, value in norm.gains().items()}
        for name, module in network.named_modules()
        if isinstance(module, SpikingLayer | NormalisedLayer)
        for norm in norm_layers(module)
    }
    return Activity({**encoded, **fired}, saturation, gains, _thresholds(network))


def _thresholds(network: nn.Module) -> dict[str, dict[str, float]]:
    paths = {module: path for path, module in network.named_modules()}
    found: dict[str, dict[str, float]] = {}
    for module in paths:
        if isinstance(module, SpikingNetwork) and module.regulation is not None:
            columns = {name: v.tolist() for name, v in module.regulation.logged().items()}
            for i, layer in enumerate(module.stack()):
                found[paths[layer]] = {name: column[i] for name, column in columns.items()}
    return found
