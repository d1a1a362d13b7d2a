"""Threshold-dependent batch normalisation."""

from __future__ import annotations

from typing import Annotated, Any

from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above


@register("norm", "tdbn")
class ThresholdDependentBatchNorm(PooledBatchNorm):
    """``y = gamma (x - mean) / sqrt(var + eps) + beta``; gamma starts at ``alpha * threshold``.

    beta starts at 0. Statistics are those of :class:`PooledBatchNorm`.

    Source: tdBN (Zheng et al., AAAI 2021, arXiv 2011.05280), its scale read as the start of gamma,
    as in SpikingJelly's ``ThresholdDependentBatchNorm``. Moving variances are the biased ones here,
    unbiased there.

    :param alpha: start of gamma, in firing thresholds
    """

    needs = "a firing threshold"

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        alpha: Annotated[float, Above(0)] = 1.0,
        **shared: Any,
    ):
        self.alpha = alpha
        super().__init__(shape, threshold, **shared)

    def affine_start(self, threshold: float) -> tuple[float, float]:
        return self.alpha * threshold, 0.0
