"""Normalisation of membrane potentials, where a neuron compares them with its threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.errors import UserError
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

    def level(self, threshold: float) -> Tensor:
        """``gamma (u - mean) / sd + beta > th`` is ``u > mean + (th - beta) sd / gamma``, where
        gamma is above 0."""
        constant = self.norm.known_constant()
        if constant is None or constant.values is None:
            raise UserError(f"{type(self.norm).__name__} is no affine map with constants")
        mean, var, gamma, beta = constant.values
        if (below := int((gamma <= 0).sum())) > 0:
            raise UserError(
                f"{type(self.norm).__name__} has a gamma of 0 or below in {below} of "
                f"{gamma.numel()} places, where spikes come below a membrane potential"
            )
        inner = self.surrogate.known_level(threshold)
        return mean + (inner - beta) * torch.sqrt(var + constant.eps) / gamma

    def forward(self, membrane: Tensor, threshold: float | Tensor, step: int) -> Tensor:
        normalised = self.norm(membrane.unsqueeze(0)).squeeze(0)
        spikes: Tensor = self.surrogate(normalised, threshold, step)
        return spikes
