"""Membrane potential batch normalisation."""

from __future__ import annotations

from typing import Annotated, Any

from snnrl.nn.norm.batch import PooledBatchNorm
from snnrl.nn.registry import register
from snnrl.nn.shape import LayerShape
from snnrl.parameters import Above


@register("norm", "mpbn")
class MembraneBatchNorm(PooledBatchNorm):
    """``s[t] = 1{BN(u[t]) > th}`` of membrane potentials u; the reset is that of u itself.

    A membrane depends on the spikes before it, so statistics cannot be pooled over time: each step
    that learns normalises by its own batch, and the update rule moves the one set of moving
    statistics once a step. Currents stay as they are.

    Source: MPBN (Guo et al., ICCV 2023). gamma and beta start at half the firing threshold, as
    those of the package's other batch normalisations.
    """

    of_membranes = True

    def __init__(
        self,
        shape: LayerShape,
        threshold: float,
        effective_n: Annotated[float, Above(0)] | None = None,
        **shared: Any,
    ):
        # Not auto: it sees one step at a time.
        super().__init__(shape, threshold, effective_n=effective_n, **shared)
