"""The specification of the leaky integrate-and-fire operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.surrogate import Firing


class LIFConstants(NamedTuple):
    """Constants of the neuron.

    :param decay: ``d``, the share of the membrane potential kept in a step
    """

    decay: float


class LIFState(NamedTuple):
    """State carried to the next time step, each ``[B, ...]``: membrane before reset, spikes."""

    membrane: Tensor
    spikes: Tensor


def lif(
    x: Tensor,
    state: LIFState | None,
    constants: LIFConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, LIFState]:
    """``v[t] = d v[t-1] (1 - s[t-1]) + x[t]``, ``s[t] = 1{v[t] > th}``: hard reset to zero.

    Source: CaRe-BN (arXiv 2509.23791), the LIF neuron of its experiments.

    :param x: input current ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param surrogate: computes spikes from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through the reset
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    v, s = state or LIFState(torch.zeros_like(x[0]), torch.zeros_like(x[0]))
    spikes = []
    for step, current in enumerate(x.unbind(0)):
        reset = s.detach() if detach_reset else s
        v = (v * constants.decay) * (1 - reset) + current
        s = surrogate(v, threshold, step)
        spikes.append(s)
    return torch.stack(spikes), LIFState(v, s)
