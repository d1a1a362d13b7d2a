"""A penalty on firing rates away from a target, or above it."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from snnrl.nn.losses.base import LossTerm, Pass
from snnrl.nn.registry import register
from snnrl.parameters import AtLeast, Between


@register("loss", "rate")
class RateLoss(LossTerm):
    """``weight * mean over layers and their neurons of (f - target)^2``, with f a neuron's spikes
    per time step.

    Source: the firing-rate regularisation of Bellec et al. (2018, arXiv 1803.09574), averaged
    instead of summed. ``side=above`` counts only neurons with ``f > target``: what saves energy,
    as silent neurons cost none. That side is our choice.

    :param weight: factor of the term
    :param target: firing rate that costs nothing, in spikes per time step
    :param side: which deviations cost: both, or only those above the target
    """

    def __init__(
        self,
        weight: Annotated[float, AtLeast(0)] = 0.1,
        target: Annotated[float, Between(0, 1)] = 0.1,
        side: Literal["both", "above"] = "both",
    ):
        super().__init__()
        self.weight = weight
        self.target = target
        self.side = side

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"weight={self.weight:g}, target={self.target:g}, side={self.side}"

    def forward(self, seen: Pass) -> Tensor:
        layers = [self._deviation(rates).square().mean() for rates in seen.rates.values()]
        return self.weight * torch.stack(layers).mean()

    def _deviation(self, rates: Tensor) -> Tensor:
        deviation = rates - self.target
        return deviation.relu() if self.side == "above" else deviation
