"""What a fused kernel needs to know of neurons and of the normalisation in front of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from snnrl.ops.dynamic import DynamicParameters
from snnrl.ops.surrogate import Surrogate

FUSED_NEURONS = ("lif", "clif", "dn")
"""Neurons that the fused kernels know."""

FUSED_SURROGATES = ("rectangular", "sigmoid", "tanh", "triangle")
"""Surrogates that the fused kernels know."""


class Dynamics(NamedTuple):
    """The constants of one kind of neuron; the equations stand in the operators' docstrings.

    :param neuron: one of :data:`FUSED_NEURONS`
    :param threshold: firing threshold; a spike is ``v > threshold``
    :param surrogate: derivative that stands for that of the step function
    :param detach_reset: no gradient through the reset
    :param decay: share of the membrane potential kept in a step; not of ``dn``
    :param current_decay: share of the synaptic current kept in a step; not of ``lif``
    :param parameters: of ``dn`` alone
    """

    neuron: str
    threshold: float
    surrogate: Surrogate
    detach_reset: bool
    decay: float = 0.0
    current_decay: float = 0.0
    parameters: DynamicParameters = DynamicParameters(0.0, 0.0, 0.0, 0.0)


class NormalisedNeurons(NamedTuple):
    """``y = (x - mean) / sqrt(var + eps) * gamma + beta`` per feature, then neurons, from rest.

    :param statistics: mean and variance ``[N]`` to take as constants; ``None``: those of x over
        time and batch (biased variance), through which gradients flow
    :param gamma, beta: ``[N]``
    :param eps: added to the variance
    :param dynamics: of the neurons
    """

    statistics: tuple[Tensor, Tensor] | None
    gamma: Tensor
    beta: Tensor
    eps: float
    dynamics: Dynamics
