"""Shape of a layer, with which its parts are built."""

from __future__ import annotations

from typing import NamedTuple


class LayerShape(NamedTuple):
    """Shape of a layer, with which each part of it is built.

    :param features: neurons N of a dense layer, channels of a convolution
    :param time_steps: time steps T of one forward pass
    :param is_image: whether currents are ``[T, B, N, H, W]`` and not ``[T, B, N]``
    """

    features: int
    time_steps: int
    is_image: bool = False
