"""Features of images for ordinary networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from snnrl.nn.convolution import conv_lists, convolved_shapes
from snnrl.nn.layers import convolution
from snnrl.nn.norm import NormStrategy
from snnrl.nn.ordinary import NormalisedStack, normalised


class ConvExtractor(BaseFeaturesExtractor):
    """Ordinary convolutions with ReLU, flattened; the counterpart of
    :class:`snnrl.nn.convolution.SpikingConvolutions`.

    :param channels, kernels, strides, paddings, pools: of each layer
    :raises UserError: lists of different length, or a kernel that is larger than its image
    """

    def __init__(
        self,
        observation_space: spaces.Box,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        paddings: Sequence[int] | None = None,
        pools: Sequence[int] | None = None,
    ):
        shapes = convolved_shapes(
            observation_space.shape, channels, kernels, strides, paddings, pools
        )
        super().__init__(observation_space, math.prod(shapes[-1]))
        paddings, pools = paddings or [0] * len(channels), pools or [1] * len(channels)
        layers: list[nn.Module] = []
        for before, n, kernel, stride, padding, pool in zip(
            shapes[:-1], channels, kernels, strides, paddings, [1, *pools[:-1]], strict=True
        ):
            linear = convolution(
                pool,
                in_channels=before[0],
                out_channels=n,
                kernel_size=kernel,
                stride=stride,
                padding=padding,
            )
            layers += [linear, nn.ReLU()]
        last = [] if pools[-1] == 1 else [nn.AvgPool2d(pools[-1])]
        self.layers: nn.Sequential | NormalisedStack = nn.Sequential(*layers, *last, nn.Flatten())

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
