"""How much a network spikes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from snnrl.nn.coding import PopulationEncoder
from snnrl.nn.eager import eager
from snnrl.nn.neurons import Neuron


class Activity(NamedTuple):
    """What was seen in one pass.

    :param rates: name of the spiking module -> mean firing rate in [0, 1]
    :param saturation: name of the population code -> share of its inputs that are too large to be
        told apart
    """

    rates: dict[str, float]
    saturation: dict[str, float]


def firing_rates(network: nn.Module, *inputs: Tensor) -> dict[str, float]:
    """Mean firing rate of each layer of neurons and of the encoder, in spikes per time step.

    :param network: network run in evaluation mode; its mode is put back
    :param inputs: what the network is called with, ``[B, ...]`` each
    :return: name of the spiking module -> rate in [0, 1]
    """
    return watch(network, *inputs).rates


@torch.no_grad()
def watch(network: nn.Module, *inputs: Tensor) -> Activity:
    """See what a network does with some inputs.

    :param network: network run in evaluation mode; its mode is put back
    :param inputs: what the network is called with, ``[B, ...]`` each
    """
    rates: dict[str, float] = {}
    saturation: dict[str, float] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, Neuron | PopulationEncoder):

            def record(module: nn.Module, inputs: Any, output: Any, key: str = name) -> None:
                spikes = output[0] if isinstance(output, tuple) else output
                rates[key] = spikes.mean().item()
                if isinstance(module, PopulationEncoder):
                    saturation[key] = module.saturation(inputs[0]).item()

            hooks.append(module.register_forward_hook(record))
    was_training = network.training
    network.eval()
    try:
        with eager(network):
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    return Activity(rates, saturation)
