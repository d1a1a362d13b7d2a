"""A network small enough to look into."""

from __future__ import annotations

from typing import Any

import torch

from snnrl.nn.networks import PopulationNetwork
from snnrl.nn.norm import make_strategy


def tiny(bn: Any = "carebn", **changes: Any) -> PopulationNetwork:
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
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PopulationNetwork(3, 2, norm=make_strategy(bn), **arguments | changes)


def observations(seed: int = 0, batch: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed))
