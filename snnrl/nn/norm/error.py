"""Errors of the moving statistics: what CaRe-BN claims to reduce."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snnrl.nn.eager import eager
from snnrl.nn.modes import evaluation_mode
from snnrl.nn.norm.accumulation import Accumulation
from snnrl.nn.norm.batch import BatchNorm


class StatisticsError(NamedTuple):
    """Error of one layer's moving statistics, averaged over its features.

    ``sd`` is ``sqrt(var + eps)``, as in the normalisation itself.

    :param mean_error: mean of ``|moving mean - mean| / sd``, in true standard deviations: free of
        the scale of the layer's inputs
    :param variance_ratio: geometric mean of ``moving var / var``; 1 is right
    :param wasserstein2: root mean square over features of the Wasserstein-2 distance between two
        Gaussians, ``W2^2 = (difference of means)^2 + (difference of sds)^2`` (input units)
    """

    mean_error: float
    variance_ratio: float
    wasserstein2: float


@torch.no_grad()
def statistics_error(
    network: nn.Module, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, StatisticsError]:
    """Run ``batches`` through ``network`` in evaluation mode and compare, layer by layer.

    The true statistics are those of each layer's inputs pooled over time and all batches, while
    every layer before it normalises with its moving statistics, as in acting.

    :param network: network with :class:`BatchNorm` layers; its mode is put back
    :param batches: what the network is called with, ``[B, ...]`` each
    :return: name of the layer -> its error; empty for a network without such layers
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, BatchNorm)}
    seen = {name: Accumulation(layer.statistics) for name, layer in layers.items()}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, inputs, acc=seen[name]: acc.add(inputs[0]) and None
        )
        for name, layer in layers.items()
    ]
    try:
        with evaluation_mode(network), eager(network):
            for batch in batches:
                network(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _compare(layer, seen[name]) for name, layer in layers.items()}


def _compare(layer: BatchNorm, true: Accumulation) -> StatisticsError:
    if true.mean is None or true.var is None:
        raise ValueError("no batch was given")
    # eps as in the normalisation itself: a silent feature has no variance to divide by.
    true_var, moving_var = true.var + layer.eps, layer.moving_var + layer.eps
    true_sd, moving_sd = true_var.sqrt(), moving_var.sqrt()
    difference = (layer.moving_mean - true.mean).abs()
    return StatisticsError(
        mean_error=(difference / true_sd).mean().item(),
        variance_ratio=(moving_var / true_var).log().mean().exp().item(),
        wasserstein2=(difference**2 + (moving_sd - true_sd) ** 2).mean().sqrt().item(),
    )
