"""Normalisation of membrane potentials, where a neuron compares them with its threshold."""

from __future__ import annotations

from torch import Tensor

from snnrl.nn.norm.base import Norm
from snnrl.nn.surrogates import Surrogate


class OfNormalised(Surrogate):
    """Spikes of normalised membrane potentials; the neuron itself keeps those that are not.

    :param norm: called with the membranes ``[1, B, N, ...]`` of each time step
    :param surrogate: makes spikes of the result
    """

    def __init__(self, norm: Norm, surrogate: Surrogate):
        super().__init__(norm.shape)
        self.norm = norm
        self.surrogate = surrogate

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        normalised = self.norm(membrane.unsqueeze(0)).squeeze(0)
        spikes: Tensor = self.surrogate(normalised, threshold, step)
        return spikes
