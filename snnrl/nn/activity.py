"""How much a network spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnrl.nn.coding import PopulationEncoder
from snnrl.nn.eager import eager
from snnrl.nn.neurons import Neuron


@torch.no_grad()
def firing_rates(network: nn.Module, *inputs: Tensor) -> dict[str, float]:
    """Mean firing rate of each layer of neurons and of the encoder, in spikes per time step.

    :param network: network run in evaluation mode; its mode is put back
    :param inputs: what the network is called with, ``[B, ...]`` each
    :return: name of the spiking module -> rate in [0, 1]
    """
    rates: dict[str, float] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, Neuron | PopulationEncoder):

            def record(module: nn.Module, inputs: Any, output: Any, key: str = name) -> None:
                spikes = output[0] if isinstance(output, tuple) else output
                rates[key] = spikes.mean().item()

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
    return rates
