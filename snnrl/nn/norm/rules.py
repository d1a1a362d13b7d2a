"""Choice of the rule that moves the statistics in training."""

from __future__ import annotations

from typing import Literal

from torch import nn

from snnrl.errors import UserError
from snnrl.nn.norm.confidence import ConfidenceUpdate, CorrectedConfidenceUpdate, KalmanUpdate
from snnrl.nn.norm.ema import ExponentialUpdate

Rule = Literal["ema", "confidence"]
Variant = Literal["published", "corrected", "kalman"]
SampleSize = float | Literal["auto"] | None

ONLY_WITH_RULE: dict[str, Rule] = {
    "momentum": "ema",
    "smoothing": "confidence",
    "effective_n": "confidence",
    "confidence": "confidence",
    "process_noise": "confidence",
}
"""Parameters that only one rule has -> that rule."""


def make_rule(
    size: tuple[int, ...],
    rule: Rule,
    *,
    momentum: float,
    smoothing: float,
    effective_n: SampleSize,
    confidence: Variant,
    process_noise: float | None,
) -> nn.Module:
    """Make the update rule of statistics of this size.

    :raises UserError: a variant, or its process noise, where it has no effect
    """
    if process_noise is not None and confidence != "kalman":
        raise UserError(
            f"bn.process_noise={process_noise}: has no effect with bn.confidence={confidence}; "
            "expected null, or bn.confidence=kalman"
        )
    if rule == "ema":
        if confidence != "published":
            raise UserError(
                f"bn.confidence={confidence}: has no effect with bn.rule=ema; expected only with "
                "the confidence rule"
            )
        return ExponentialUpdate(momentum)
    if confidence == "kalman":
        return KalmanUpdate(size, smoothing, effective_n, process_noise)
    variant = CorrectedConfidenceUpdate if confidence == "corrected" else ConfidenceUpdate
    return variant(size, smoothing, effective_n)
