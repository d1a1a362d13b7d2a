"""The specification of the dynamic neuron operator."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.surrogate import Firing


class DynamicConstants(NamedTuple):
    """Constants of the neuron (MDC-SAN, Zhang et al. 2022).

    :param current_decay: ``c``, the share of the synaptic current kept in a step
    :param tv: pull of the membrane on the recovery variable
    :param tu: pull of the recovery variable on itself
    :param tr: membrane potential after a spike
    :param ts: jump of the recovery variable at a spike
    """

    current_decay: float
    tv: float
    tu: float
    tr: float
    ts: float


class DynamicState(NamedTuple):
    """State carried to the next time step, each ``[B, ...]``: membrane before reset, spikes,
    synaptic current, recovery variable."""

    membrane: Tensor
    spikes: Tensor
    current: Tensor
    recovery: Tensor


def dynamic(
    x: Tensor,
    state: DynamicState | None,
    constants: DynamicConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, DynamicState]:
    """Second-order dynamics with a recovery variable ``u``; a spike sets ``v`` and moves ``u``.

    ``i[t] = c i[t-1] + x[t]``; ``a = v[t-1] (1 - s[t-1]) + tr s[t-1]``;
    ``b = u[t-1] + ts s[t-1]``; ``v[t] = a + (a^2 - a - b + i[t])``;
    ``u[t] = b + (tv a + tu b)``; ``s[t] = 1{v[t] > th}``.

    Source: MDC-SAN (Zhang et al., AAAI 2022), with ``tu = -0.529``; CaRe-BN (arXiv 2509.23791) has
    ``tu = 0.529``.

    :param x: input to the synapse ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param surrogate: computes spikes from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through the reset
    :return: spikes ``[T, B, ...]`` and the state after the last step
    """
    current_decay, tv, tu, tr, ts = constants
    rest = torch.zeros_like(x[0])
    v, s, i, u = state or DynamicState(rest, rest, rest, rest)
    spikes = []
    for step, drive in enumerate(x.unbind(0)):
        reset = s.detach() if detach_reset else s
        i = current_decay * i + drive
        a = v * (1 - reset) + tr * reset
        b = u + ts * reset
        v = a + (a * a - a - b + i)
        u = b + (tv * a + tu * b)
        s = surrogate(v, threshold, step)
        spikes.append(s)
    return torch.stack(spikes), DynamicState(v, s, i, u)
