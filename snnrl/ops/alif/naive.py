"""The specification of the operator of the adaptive-threshold neuron."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.surrogate import Firing


class ALIFConstants(NamedTuple):
    """Constants of the neuron.

    :param decay: ``d``, the share of the membrane potential kept in a step
    :param rho: the share of the adaptation kept in a step
    :param beta: rise of the threshold for a unit of adaptation, in thresholds
    """

    decay: float
    rho: float
    beta: float


class ALIFState(NamedTuple):
    """State carried to the next time step, each ``[B, ...]``: membrane before reset, spikes,
    adaptation."""

    membrane: Tensor
    spikes: Tensor
    adaptation: Tensor


def alif(
    x: Tensor,
    state: ALIFState | None,
    constants: ALIFConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, ALIFState]:
    """A neuron whose threshold rises with each of its spikes, and falls back.

    ``a[t] = rho a[t-1] + s[t-1]``; ``v[t] = d v[t-1] (1 - s[t-1]) + x[t]``;
    ``s[t] = 1{v[t] > th + beta th a[t]}``.

    Source: the adaptive neuron of LSNN (Bellec et al. 2018, arXiv 1803.09574), with the hard reset
    of the other neurons here.

    :param x: input current ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th`` at rest; a number or a tensor without dimensions
    :param surrogate: computes spikes from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through what a spike does to later steps: reset and adaptation
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    decay, rho, beta = constants
    rest, rise = torch.zeros_like(x[0]), beta * threshold
    v, s, a = state or ALIFState(rest, rest, rest)
    spikes = []
    for step, current in enumerate(x.unbind(0)):
        before = s.detach() if detach_reset else s
        a = rho * a + before
        v = (v * decay) * (1 - before) + current
        s = surrogate(v, threshold + rise * a, step)
        spikes.append(s)
    return torch.stack(spikes), ALIFState(v, s, a)
