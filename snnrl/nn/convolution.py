"""Spiking convolutions for images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from snnrl.errors import UserError, expect
from snnrl.nn.layers import LayerParts


class SpikingConvolutions(nn.Module):
    """A stack of spiking convolutions, flattened at its end.

    Pooling is part of the map behind it: the next convolution, or :class:`PooledImages`.

    :param shape: ``(C, H, W)`` of the images
    :param parts: what the layers are made of
    :param channels, kernels, strides: of each layer
    :param paddings: zeros on each side of each layer's input; ``None``: none
    :param pools: side of the squares over which each layer's spikes are averaged; ``None``: 1
    :raises UserError: lists of different length, or a kernel or pool that is larger than its image
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        parts: LayerParts,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        paddings: Sequence[int] | None = None,
        pools: Sequence[int] | None = None,
    ):
        super().__init__()
        sizes = convolved_shapes(shape, channels, kernels, strides, paddings, pools)
        paddings, pools = paddings or [0] * len(channels), pools or [1] * len(channels)
        layers = zip(
            sizes[:-1], channels, kernels, strides, paddings, [1, *pools[:-1]], strict=True
        )
        self.layers = nn.Sequential(
            *(
                parts.convolution(before[0], n, kernel, stride, padding, pool)
                for before, n, kernel, stride, padding, pool in layers
            )
        )
        self.features = math.prod(sizes[-1])
        self.pooled: PooledImages | None = None
        """What pools the last layer's spikes, if any does."""
        if pools[-1] > 1:
            unpooled = convolved_shapes(
                shape, channels, kernels, strides, paddings, [*pools[:-1], 1]
            )
            self.pooled = PooledImages(unpooled[-1], pools[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes ``[T, B, features]`` of currents ``[T, B, C, H, W]``."""
        spikes: Tensor = self.layers(x).flatten(2)
        return spikes


class PooledImages(nn.Module):
    """Average pooling of images, flattened.

    :param shape: ``(C, H, W)``
    :param pool: side of the squares
    """

    def __init__(self, shape: tuple[int, ...], pool: int):
        super().__init__()
        self.shape, self.pool = shape, pool

    def extra_repr(self) -> str:
        """Return its parameters, for ``print``."""
        return f"{self.shape}, pool={self.pool}"

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, N]`` of images ``[B, C, H, W]``, which may be flattened."""
        return F.avg_pool2d(x.reshape(len(x), *self.shape), self.pool).flatten(1)


def conv_lists(conv: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    """Return the arguments that describe convolutions, from a user's mapping.

    :raises UserError: not a mapping, an unknown key, one that is missing, or not lists of integers
    """
    keys, others = ("channels", "kernels", "strides"), ("paddings", "pools")
    if not isinstance(conv, Mapping):
        raise UserError(f"conv={conv}: expected dict(channels=[...], kernels=[...], strides=[...])")
    for key in conv:
        expect("conv parameter", key, [*keys, *others])
    for key in keys:
        if key not in conv:
            raise UserError(f"conv.{key}: is missing; expected a number for each layer")
    for key, numbers in conv.items():
        if key in others and numbers is None:
            continue
        if not isinstance(numbers, Sequence) or not all(isinstance(n, Integral) for n in numbers):
            raise UserError(f"conv.{key}={numbers}: expected an integer for each layer")
    return dict(conv)


def convolved_shapes(
    shape: tuple[int, ...],
    channels: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    paddings: Sequence[int] | None = None,
    pools: Sequence[int] | None = None,
) -> list[tuple[int, ...]]:
    """Return the shape ``(C, H, W)`` of the images and of each convolution's output, pooled.

    :param paddings: zeros on each side; ``None``: none
    :param pools: side of the squares that are averaged; ``None``: 1
    :raises UserError: not images, lists of different length, a size below 1, or a kernel or pool
        that is larger than its image
    """
    if len(shape) != 3:
        raise UserError(f"conv: takes images (C, H, W), not observations of shape {shape}")
    lists: dict[str, Any] = {"channels": channels, "kernels": kernels, "strides": strides}
    given = {"paddings": paddings, "pools": pools}
    lists |= {name: values for name, values in given.items() if values is not None}
    if len({len(values) for values in lists.values()}) != 1 or not channels:
        lengths = ", ".join(f"conv.{name} has {len(values)}" for name, values in lists.items())
        raise UserError(f"{lengths}: expected the same number of layers, at least one")
    for name, values in lists.items():
        least = 0 if name == "paddings" else 1
        if min(values) < least:
            raise UserError(f"conv.{name}={list(values)}: expected at least {least}")
    paddings, pools = paddings or [0] * len(channels), pools or [1] * len(channels)
    shapes = [tuple(shape)]
    layers = zip(channels, kernels, strides, paddings, pools, strict=True)
    for i, (n, kernel, stride, padding, pool) in enumerate(layers, start=1):
        height, width = (side + 2 * padding for side in shapes[-1][1:])
        if kernel > min(height, width):
            raise UserError(
                f"conv.kernels={list(kernels)}: layer {i} sees images of {height} x {width}; "
                f"expected a kernel of at most {min(height, width)} there, or larger images than "
                f"{shape[1]} x {shape[2]}"
            )
        height, width = ((side - kernel) // stride + 1 for side in (height, width))
        if pool > min(height, width):
            raise UserError(
                f"conv.pools={list(pools)}: layer {i} makes images of {height} x {width}; "
                f"expected at most {min(height, width)} there"
            )
        shapes.append((n, height // pool, width // pool))
    return shapes
