"""Layer normalisation."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from snnrl.nn.norm.base import Norm
from snnrl.nn.norm.batch import beside
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above


@register("norm", "layernorm")
class LayerNorm(Norm):
    """``y = gamma (x - mean) / sqrt(var + eps) + beta``, mean and variance of each input and step
    over the features, and over the places of an image.

    It keeps no statistics, so acting and learning normalise alike. gamma and beta are one for each
    feature (channel), and start at half the firing threshold, as those of the package's batch
    normalisations. Source: Ba, Kiros & Hinton (2016, arXiv 1607.06450).

    :param eps: added to the variance
    """

    def __init__(self, shape: LayerShape, threshold: float, eps: Annotated[float, Above(0)] = 1e-5):
        super().__init__(shape, threshold)
        self.eps = eps
        self.gamma = nn.Parameter(torch.full((shape.features,), threshold / 2))
        self.beta = nn.Parameter(torch.full((shape.features,), threshold / 2))

    def extra_repr(self) -> str:
        """Its parameters, for ``print``."""
        return f"{self.shape.features}, eps={self.eps:g}"

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=tuple(range(2, x.dim())), correction=0, keepdim=True)
        normalised = (x - mean) / torch.sqrt(var + self.eps)
        return normalised * beside(self.gamma, x) + beside(self.beta, x)
