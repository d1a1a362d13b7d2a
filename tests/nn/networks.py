"""A network small enough to look into."""

from __future__ import annotations

from typing import Any

import torch

from snnrl.nn.networks import SpikingNetwork
from snnrl.nn.norm import make_strategy


def tiny(bn: Any = "carebn", **changes: Any) -> SpikingNetwork:
    """3 inputs, 12 and 8 hidden neurons, 2 outputs of 3 neurons; the same weights each time."""
    arguments: dict[str, Any] = dict(
        hidden=[12, 8],
        neuron="lif",
        surrogate="rectangular",
        encoder="population",
        time_steps=4,
        population=3,
        kernel="naive",
    )
    inputs = changes.pop("inputs", 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpikingNetwork(inputs, 2, norm=make_strategy(bn), **arguments | changes)


def observations(seed: int = 0, batch: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed))


def values_and_gradients(network: SpikingNetwork) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Of a pass of the observations, and of the sum of its values."""
    network.zero_grad()
    values = network(observations())
    values.sum().backward()
    return values.detach(), [weight.grad.clone() for weight in network.parameters()]


CONV = dict(channels=[4, 6], kernels=[3, 2], strides=[1, 2])
"""Of images ``[2, 6, 7]``: 4 channels of 4 x 5, 6 channels of 2 x 2."""


def tiny_conv(bn: Any = "carebn", **changes: Any) -> SpikingNetwork:
    """Two convolutions, 6 hidden neurons, 3 outputs; the same weights each time."""
    arguments: dict[str, Any] = dict(
        hidden=[6],
        neuron="lif",
        surrogate="rectangular",
        encoder="direct",
        conv=CONV,
        time_steps=4,
        population=3,
        readout="linear",
        kernel="naive",
    )
    inputs = changes.pop("inputs", (2, 6, 7))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpikingNetwork(inputs, 3, norm=make_strategy(bn), **arguments | changes)


def images(seed: int = 0, batch: int = 16) -> torch.Tensor:
    """``[batch, 2, 6, 7]``, not normalised."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, 6, 7, generator=generator) * 2 + 1
