"""The launchers of the kernels, with a dynamics instead of what they are compiled from."""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.ops.dynamics import Dynamics
from snnrl.ops.triton import neurons, normalised, normalised_backward
from snnrl.ops.triton.launch import Operands
from snnrl.ops.triton.program import Program, program


def compiled(dynamics: Dynamics) -> tuple[Operands, Program]:
    operands = tuple(torch.tensor(v) for v in (dynamics.threshold, dynamics.surrogate.scale))
    return operands, program(
        dynamics.neuron, dynamics.surrogate.name, dynamics.detach_reset, dynamics.constants
    )


def neuron_forward(x: Tensor, dynamics: Dynamics) -> Tensor:
    return neurons.neuron_forward(x, False, *compiled(dynamics))[0]


def neuron_backward(
    g: Tensor | None, x: Tensor, dynamics: Dynamics, g_counts: Tensor | None = None
) -> Tensor:
    return neurons.neuron_backward(g, g_counts, x, *compiled(dynamics))


def normalised_forward(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, dynamics: Dynamics
) -> tuple[Tensor, Tensor, Tensor]:
    return normalised.normalised_forward(x, gamma, beta, eps, False, *compiled(dynamics))[:3]


def given_forward(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    dynamics: Dynamics,
) -> Tensor:
    return normalised.given_forward(x, mean, var, gamma, beta, eps, False, *compiled(dynamics))[0]


def gradients_of_normalised(g: Tensor | None, *args, g_counts: Tensor | None = None):
    *args, dynamics = args
    return normalised_backward.normalised_backward(g, g_counts, *args, *compiled(dynamics))
