"""What a fused kernel needs to know of a neuron."""

from __future__ import annotations

from typing import NamedTuple

from snnrl.ops.dynamic import DynamicParameters
from snnrl.ops.surrogate import Surrogate


class Dynamics(NamedTuple):
    """The constants of one kind of neuron; the equations stand in the operators' docstrings.

    :param neuron: ``lif``, ``clif`` or ``dn``
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
