"""Normalisation strategies: a small layer, an update rule for its moving statistics, a schedule."""

from snnrl.nn.norm.frozen import frozen_statistics
from snnrl.nn.norm.pooled import PooledBatchNorm, norm_layers
from snnrl.nn.norm.recalibration import recalibrating
from snnrl.nn.norm.strategies import STRATEGIES, NormStrategy, make_norm, make_strategy
from snnrl.nn.norm.targets import sync_target

__all__ = [
    "STRATEGIES",
    "NormStrategy",
    "PooledBatchNorm",
    "frozen_statistics",
    "make_norm",
    "make_strategy",
    "norm_layers",
    "recalibrating",
    "sync_target",
]
