"""Named strategies: which update rule, and how often re-calibration replaces the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from snnrl.errors import UserError, expect
from snnrl.nn.norm.confidence import ConfidenceUpdate
from snnrl.nn.norm.ema import ExponentialUpdate
from snnrl.nn.norm.pooled import PooledBatchNorm
from snnrl.nn.registry import split_spec


@dataclass(frozen=True)
class NormStrategy:
    """A normalisation strategy.

    :param rule: ``none`` (no normalisation), ``ema`` or ``confidence``
    :param recalibrate_every: environment steps between re-calibrations, ``None``: never
    :param recalibrate_batches: minibatches a re-calibration pools
    :param target_stats: how target networks' statistics follow, ``soft`` or ``hard``
    :param momentum: gain of the ``ema`` rule
    :param smoothing: how slowly the prior variance of the ``confidence`` rule follows
    :param effective_n: observations a batch is worth to the ``confidence`` rule, ``None``:
        batch size - 1
    :param eps: added to the variance
    """

    rule: str
    recalibrate_every: int | None = None
    recalibrate_batches: int = 100
    target_stats: str = "soft"
    momentum: float = 0.1
    smoothing: float = 0.8
    effective_n: float | None = None
    eps: float = 1e-5

    def __post_init__(self) -> None:
        expect("bn.rule", self.rule, ("none", "ema", "confidence"))
        expect("bn.target_stats", self.target_stats, ("soft", "hard"))
        for key in ("recalibrate_every", "recalibrate_batches", "momentum", "effective_n", "eps"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise UserError(f"bn.{key}={value}: expected more than 0")
        for key in ("momentum", "smoothing"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"bn.{key}={getattr(self, key)}: expected 0 to 1")
        if self.rule == "none" and self.recalibrate_every is not None:
            raise UserError(
                f"bn.recalibrate_every={self.recalibrate_every}: without normalisation there is "
                "nothing to re-calibrate; expected None"
            )


STRATEGIES: dict[str, NormStrategy] = {
    "none": NormStrategy("none"),
    "vanilla": NormStrategy("ema"),
    "ca_only": NormStrategy("confidence"),
    "re_only": NormStrategy("ema", recalibrate_every=5_000),
    "carebn": NormStrategy("confidence", recalibrate_every=5_000),
}


def make_strategy(spec: str | Mapping[str, Any]) -> NormStrategy:
    """A strategy from its name, or from ``dict(name=..., **changes)``.

    :raises UserError: unknown name, parameter or value
    """
    name, changes = split_spec(spec)
    expect("bn", name, STRATEGIES)
    for key in changes:
        expect("bn parameter", key, NormStrategy.__dataclass_fields__)
    return replace(STRATEGIES[name], **changes)


def make_norm(strategy: NormStrategy, features: int, affine_start: float) -> nn.Module:
    """The layer of ``strategy`` for ``features`` features; identity where there is none."""
    if strategy.rule == "none":
        return nn.Identity()
    update: nn.Module = (
        ExponentialUpdate(strategy.momentum)
        if strategy.rule == "ema"
        else ConfidenceUpdate(features, strategy.smoothing, strategy.effective_n)
    )
    return PooledBatchNorm(features, update, affine_start, strategy.eps)
