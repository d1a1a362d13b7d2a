"""The specification of the circulate-firing operator, and of firing in rounds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snnrl.ops.surrogate import Firing


class CirculateFiringConstants(NamedTuple):
    """Constants of the neuron.

    :param decay: ``d``, the share of the membrane potential kept in a step
    :param rho: potential that a spike takes, in thresholds
    """

    decay: float
    rho: float


class CirculateFiringState(NamedTuple):
    """State carried to the next time step, each ``[B, ...]``: membrane before reset, output."""

    membrane: Tensor
    spikes: Tensor


def circulate_firing(
    x: Tensor,
    state: CirculateFiringState | None,
    constants: CirculateFiringConstants,
    threshold: float | Tensor,
    surrogate: Firing,
    detach_reset: bool,
) -> tuple[Tensor, CirculateFiringState]:
    """``u[t] = d v[t-1] + x[t]``; ``out[t] = fire(u[t])``; ``v[t] = u[t] - rho th out[t]``.

    With :func:`fire_in_rounds` this is the circulate-firing neuron. One round, ``rho = 1``, is the
    leaky integrate-and-fire neuron with a soft reset; with spikes of either sign, the ternary one.

    A reconstruction from the abstract of arXiv 2605.27412, whose text and code were not obtainable.

    :param x: input current ``[T, B, ...]``
    :param state: state after the previous step, or ``None`` for a neuron at rest
    :param constants: of the dynamics
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param surrogate: computes outputs from membrane potentials, with a surrogate gradient
    :param detach_reset: no gradient through the reset
    :return: outputs ``[T, B, ...]`` and the state after the last step
    """
    taken = constants.rho * threshold
    rest = torch.zeros_like(x[0])
    u, out = state or CirculateFiringState(rest, rest)
    outputs = []
    for step, current in enumerate(x.unbind(0)):
        reset = out.detach() if detach_reset else out
        u = constants.decay * (u - taken * reset) + current
        out = surrogate(u, threshold, step)
        outputs.append(out)
    return torch.stack(outputs), CirculateFiringState(u, out)


def fire_in_rounds(
    membrane: Tensor,
    threshold: float | Tensor,
    step: int,
    surrogate: Firing,
    rounds: int,
    signed: bool,
    rho: float,
    detach_reset: bool,
) -> Tensor:
    """Return the spikes of one time step, summed over rounds: an integer for each neuron.

    For each round ``z = H(u - th) - signed H(-u - th)``, then ``u <- u - rho th z``.

    :param membrane: ``u`` before the first round, ``[B, ...]``
    :param threshold: firing threshold ``th``; a number or a tensor without dimensions
    :param step: number of the time step, from 0
    :param surrogate: computes spikes ``H`` from membrane potentials, with a surrogate gradient
    :param rounds: K
    :param signed: whether a potential below ``-th`` causes a spike of -1
    :param rho: potential that a spike takes, in thresholds
    :param detach_reset: no gradient through what a spike takes
    """
    u, spikes = membrane, []
    for _ in range(rounds):
        z = surrogate(u, threshold, step)
        if signed:
            z = z - surrogate(-u, threshold, step)
        spikes.append(z)
        u = u - (rho * threshold) * (z.detach() if detach_reset else z)
    return sum(spikes[1:], spikes[0])


def fired(outputs: Tensor, signed: bool) -> Tensor:
    """Return 1 where outputs are not 0 and 0 elsewhere, of the same shape and dtype.

    The gradient is that of the size of the output, ``sign(out)``: a penalty on rates moves spikes
    of either sign towards silence. Where a neuron is silent it is 1 without signs, as for binary
    spikes, and 0 with signs: the next spike could have either.

    :param outputs: integers, any shape
    :param signed: whether they can be negative
    """
    size = outputs.abs() if signed else outputs
    return (outputs != 0).to(outputs.dtype) + (size - size.detach())
