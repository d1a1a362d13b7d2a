"""Spiking convolutions for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.layers import LayerParts


class SpikingConvolutions(nn.Module):
    """A stack of spiking convolutions, flattened at its end.

    :param shape: ``(C, H, W)`` of the images
    :param parts: what the layers are made of
    :param channels, kernels, strides: of each layer
    :raises UserError: lists of different length, or a kernel that is larger than its image
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        parts: LayerParts,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
    ):
        super().__init__()
        sizes = convolved_shapes(shape, channels, kernels, strides)
        self.layers = nn.Sequential(
            *(
                parts.convolution(before[0], n, kernel, stride)
                for before, n, kernel, stride in zip(
                    sizes[:-1], channels, kernels, strides, strict=True
                )
            )
        )
        self.features = sizes[-1][0] * sizes[-1][1] * sizes[-1][2]

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes ``[T, B, features]`` of currents ``[T, B, C, H, W]``."""
        spikes: Tensor = self.layers(x).flatten(2)
        return spikes


def conv_lists(conv: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Return the arguments that describe convolutions, from a user's mapping.

    :raises UserError: not a mapping, an unknown key, one that is missing, or not lists of integers
    """
    keys = ("channels", "kernels", "strides")
    if not isinstance(conv, Mapping):
        raise UserError(f"conv={conv}: expected dict(channels=[...], kernels=[...], strides=[...])")
    for key in conv:
        expect("conv parameter", key, keys)
    for key in keys:
        if key not in conv:
            raise UserError(f"conv.{key}: is missing; expected a number for each layer")
        numbers = conv[key]
        if not isinstance(numbers, Sequence) or not all(isinstance(n, Integral) for n in numbers):
            raise UserError(f"conv.{key}={numbers}: expected an integer for each layer")
    return dict(conv)


def convolved_shapes(
    shape: tuple[int, ...],
    channels: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, ...]]:
    """Return the shape ``(C, H, W)`` of the images and of each convolution's output without
    padding.

    :raises UserError: not images, lists of different length, a size below 1, or a kernel that is
        larger than its image
    """
    if len(shape) != 3:
        raise UserError(f"conv: takes images (C, H, W), not observations of shape {shape}")
    lists: dict[str, Any] = {"channels": channels, "kernels": kernels, "strides": strides}
    if len({len(values) for values in lists.values()}) != 1 or not channels:
        lengths = ", ".join(f"conv.{name} has {len(values)}" for name, values in lists.items())
        raise UserError(f"{lengths}: expected the same number of layers, at least one")
    for name, values in lists.items():
        if min(values) < 1:
            raise UserError(f"conv.{name}={list(values)}: expected at least 1")
    shapes = [tuple(shape)]
    for i, (n, kernel, stride) in enumerate(zip(channels, kernels, strides, strict=True), start=1):
        height, width = shapes[-1][1:]
        if kernel > min(height, width):
            raise UserError(
                f"conv.kernels={list(kernels)}: layer {i} sees images of {height} x {width}; "
                f"expected a kernel of at most {min(height, width)} there, or larger images than "
                f"{shape[1]} x {shape[2]}"
            )
        shapes.append((n, (height - kernel) // stride + 1, (width - kernel) // stride + 1))
    return shapes
