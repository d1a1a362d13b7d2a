"""The specification of the operator of the leaky integrate-and-fire neuron with learned decay."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.lif import LIFConstants, LIFState, lif
from snnrl.ops.surrogate import Firing


class PLIFConstants(NamedTuple):
    """What the neuron learns.

    :param w: of shape ``[]``; the decay is its sigmoid
    """

    w: Tensor


def plif(
    x: Tensor,
    state: LIFState | None,
    constants: PLIFConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, LIFState]:
    """:func:`snnrl.ops.lif.lif` with ``d = sigmoid(w)``, through which ``w`` gets its gradient.

    Source: parametric LIF (Fang et al. 2021, arXiv 2007.05785), with a hard reset as in Proxy
    Target (arXiv 2505.24161).

    :param x: input current ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param surrogate: computes spikes from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through the reset
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    decay = torch.sigmoid(constants.w)
    # Its expressions hold for a tensor as for a number, which is all that fused operators take.
    learned = LIFConstants(decay)  # type: ignore[arg-type]
    return lif(x, state, learned, threshold, surrogate, detach_reset)
