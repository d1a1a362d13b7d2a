"""Passes that must neither use a batch's statistics nor move the moving ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from snnrl.nn.norm.pooled import norm_layers


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, every pooled layer of ``network`` normalises with its moving statistics.

    The mode of everything else stays as it is; gradients flow.
    """
    layers = [layer for layer in norm_layers(network) if layer.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True
