"""How the moving statistics of a target network follow those of the online one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from snnrl.nn.norm.pooled import norm_layers


@torch.no_grad()
def sync_target(
    online: nn.Module, target: nn.Module, tau: float, target_stats: str = "soft"
) -> None:
    """``target <- target + tau (online - target)`` for moving means and variances.

    :param online: network that learns
    :param target: network of the same structure that follows
    :param tau: share of the way gone
    :param target_stats: ``soft`` follows with ``tau``, like weights do (the published results);
        ``hard`` copies
    """
    share = {"soft": tau, "hard": 1.0}[target_stats]
    for ours, theirs in paired_statistics(online, target):
        theirs.lerp_(ours, share)


def paired_statistics(online: nn.Module, target: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Each moving mean and variance ``[N]`` of ``online``, with that of ``target``."""
    for ours, theirs in zip(norm_layers(online), norm_layers(target), strict=True):
        yield ours.moving_mean, theirs.moving_mean
        yield ours.moving_var, theirs.moving_var
