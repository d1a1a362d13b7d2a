"""Re-calibration: replace moving statistics by those pooled over many batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from snnrl.nn.eager import eager
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.norm.accumulation import Accumulation
from snnrl.nn.norm.batch import norm_layers


@contextmanager
def recalibrating(network: nn.Module, *, by_rule: bool = False) -> Iterator[None]:
    """Context in which every batch normalisation of ``network`` uses its statistics accumulated so
    far.

    Everything else is in evaluation mode, such as an ordinary feature extractor before it. At the
    end the accumulated statistics replace the moving ones. An exception, or no forward pass at all,
    changes nothing. The confidence state is not changed.

    Source: CaRe-BN (arXiv 2509.23791), re-calibration.

    :param by_rule: move the statistics by each layer's update rule instead, once, as if all
        batches had been one
    """
    layers = norm_layers(network)
    for layer in layers:
        layer.accumulation = Accumulation(
            layer.statistics, measures_n=by_rule and layer.measures_n()
        )
    try:
        with evaluation_mode(network), eager(network, instead_of=("compile",)), torch.no_grad():
            yield
            for layer in layers:
                done = layer.accumulation
                if done is None or done.mean is None or done.var is None:
                    continue
                if by_rule:
                    # A normalisation of membranes sees each input once a time step.
                    passes = layer.shape.time_steps if layer.of_membranes else 1
                    inputs = done.batch_size // passes
                    layer.move(done.mean, done.var, inputs, done.var_of_means)
                else:
                    layer.moving_mean.copy_(done.mean)
                    layer.moving_var.copy_(done.var)
    finally:
        for layer in layers:
            layer.accumulation = None
