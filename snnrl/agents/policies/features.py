"""Features of images for ordinary networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from snnrl.nn.convolution import conv_lists, convolved_shapes
from snnrl.nn.norm import NormStrategy
from snnrl.nn.ordinary import NormalisedStack, normalised


class ConvExtractor(BaseFeaturesExtractor):
    """Ordinary convolutions with ReLU and without padding, flattened; the counterpart of
    :class:`snnrl.nn.convolution.SpikingConvolutions`.

    :param channels, kernels, strides: of each layer
    :raises UserError: lists of different length, or a kernel that is larger than its image
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
    ):
        shapes = convolved_shapes(observation_space.shape, channels, kernels, strides)
        super().__init__(observation_space, math.prod(shapes[-1]))
        layers: list[nn.Module] = []
        for before, n, kernel, stride in zip(shapes[:-1], channels, kernels, strides, strict=True):
            layers += [nn.Conv2d(before[0], n, kernel, stride), nn.ReLU()]
        self.layers: nn.Sequential | NormalisedStack = nn.Sequential(*layers, nn.Flatten())

    def normalise(self, strategy: NormStrategy) -> None:
        """Put a normalisation between each convolution and its ReLU, unless it is there."""
        if isinstance(self.layers, nn.Sequential):
            self.layers = normalised(self.layers, strategy)

    def forward(self, observations: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` -> features ``[B, N]``."""
        features: Tensor = self.layers(observations)
        return features


def convolve_images(kwargs: dict[str, Any], conv: Mapping[str, Any] | None) -> None:
    """Add the extractor that ``conv`` describes, if any, to the keyword arguments of an ordinary
    policy."""
    if conv is not None:
        kwargs["features_extractor_class"] = ConvExtractor
        kwargs["features_extractor_kwargs"] = conv_lists(conv)
