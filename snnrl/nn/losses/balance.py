"""A penalty on membrane potentials that lean to one sign."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from snnrl.nn.losses.base import LossTerm, Pass
from snnrl.nn.registry import register
from snnrl.parameters import AtLeast

EPS = 1e-6
"""Keeps a layer whose potentials are all zero finite."""


@register("loss", "balance")
class BalanceLoss(LossTerm):
    """``weight * mean over layers and time steps of (E[u] / (E|u| + 1e-6))^2``, with u the membrane
    potentials of a layer in a step before their reset, and E over the batch and the neurons.

    It is 0 where positive and negative potentials cancel, and 1 where all have one sign. Potentials
    come from traces, so a pass that learns uses the naive kernel, whatever ``kernel=`` says; with
    ``bn=mpbn`` they are those before its normalisation.

    A reconstruction of the positive-negative balanced loss from the abstract of arXiv 2605.27412.
    The abstract has no formula. Ours is a ratio, so that it depends neither on the scale of the
    potentials nor on the width of a layer, squared, so that it is smooth at its minimum; the weight
    is small against the losses of agents.

    :param weight: factor of the term
    """

    needs_traces: ClassVar[bool] = True

    def __init__(self, weight: Annotated[float, AtLeast(0)] = 0.01):
        super().__init__()
        self.weight = weight

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"weight={self.weight:g}"

    def forward(self, seen: Pass) -> Tensor:
        layers = [_imbalance(trace.membranes) for trace in seen.traces.values()]
        return self.weight * torch.stack(layers).mean()


def _imbalance(membranes: Tensor) -> Tensor:
    """Return the mean over time steps of the squared share that does not cancel, ``[]``.

    :param membranes: ``[T, B, N, ...]``
    """
    of_step = membranes.flatten(1)
    return (of_step.mean(1) / (of_step.abs().mean(1) + EPS)).square().mean()
