"""The specification of the current-based leaky integrate-and-fire operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.surrogate import Firing


class CLIFConstants(NamedTuple):
    """Constants of the neuron.

    :param current_decay: ``c``, the share of the synaptic current kept in a step
    :param decay: ``d``, the share of the membrane potential kept in a step
    """

    current_decay: float
    decay: float


class CLIFState(NamedTuple):
    """State carried to the next time step, each ``[B, ...]``: membrane before reset, spikes,
    synaptic current."""

    membrane: Tensor
    spikes: Tensor
    current: Tensor


def clif(
    x: Tensor,
    state: CLIFState | None,
    constants: CLIFConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, CLIFState]:
    """``i[t] = c i[t-1] + x[t]``; ``v[t] = d v[t-1] (1 - s[t-1]) + i[t]``; ``s[t] = 1{v[t] > th}``.

    Source: PopSAN (Tang et al. 2020) and CaRe-BN (arXiv 2509.23791).

    :param x: input to the synapse ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param surrogate: computes spikes from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through the reset
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    current_decay, decay = constants
    rest = torch.zeros_like(x[0])
    v, s, i = state or CLIFState(rest, rest, rest)
    spikes = []
    for step, drive in enumerate(x.unbind(0)):
        reset = s.detach() if detach_reset else s
        i = current_decay * i + drive
        v = (v * decay) * (1 - reset) + i
        s = surrogate(v, threshold, step)
        spikes.append(s)
    return torch.stack(spikes), CLIFState(v, s, i)
