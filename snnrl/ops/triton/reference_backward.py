"""The operators in plain torch, backward: what runs on a CPU.

Formulas and not autograd, which an operator cannot rely on: it may be called below it. Their
derivations stand with the kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.ops.dynamics import Dynamics
from snnrl.ops.surrogate import DERIVATIVES
from snnrl.ops.triton.reference import as_state, run


def membranes(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Membrane potentials before reset, of the shape of ``x[T, B, ...]``."""
    state, potentials = None, []
    for t in range(len(x)):
        _, state = run(x[t : t + 1], dynamics, state)
        potentials.append(state.membrane)
    return torch.stack(potentials)


def neuron(g: Tensor, x: Tensor, dynamics: Dynamics) -> Tensor:
    """``dL/dx`` from ``g = dL/ds``; :func:`snnrl.ops.triton.steps.step_backward` derives it."""
    gradient = _neuron(as_state(g), as_state(x), dynamics)
    return gradient.to(x.dtype)


def _neuron(g: Tensor, x: Tensor, dynamics: Dynamics) -> Tensor:
    v = membranes(x, dynamics)
    s = (v > dynamics.threshold).to(v.dtype)
    derivative = DERIVATIVES[dynamics.surrogate.name]
    slope = derivative(v - dynamics.threshold, dynamics.surrogate.scale)
    tv, tu, tr, ts = dynamics.parameters
    current_decay = 0.0 if dynamics.neuron == "lif" else dynamics.current_decay
    lv = li = lu = torch.zeros_like(x[0])
    gradients = []
    for t in reversed(range(len(x))):
        if dynamics.neuron == "dn":
            alpha = 2 * torch.where(s[t] > 0, tr, v[t]) * lv + tv * lu
            beta = lu + tu * lu - lv
            kept = alpha * (1 - s[t])
            through_reset = alpha * (tr - v[t]) + ts * beta
            lu = beta
        else:
            kept = dynamics.decay * (1 - s[t]) * lv
            through_reset = -dynamics.decay * v[t] * lv
        through_spike = g[t] if dynamics.detach_reset else g[t] + through_reset
        lv = kept + slope[t] * through_spike
        li = lv + current_decay * li
        gradients.append(li)
    return torch.stack(gradients[::-1])


def normalised_neuron(
    g: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    pooled: bool,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor]:
    """``dx``, ``dgamma`` and ``dbeta``; :mod:`snnrl.ops.triton.normalised_backward` derives them.

    :param pooled: mean and var are those of ``x`` and not constants
    """
    sd = torch.sqrt(var + eps)
    xhat = (as_state(x) - mean) / sd
    delta = _neuron(as_state(g), xhat * gamma + beta, dynamics)
    dgamma, dbeta = (delta * xhat).sum((0, 1)), delta.sum((0, 1))
    if pooled:
        count = x.shape[0] * x.shape[1]
        delta = delta - dbeta / count - xhat * (dgamma / count)
    dx = gamma / sd * delta
    return dx.to(x.dtype), dgamma.to(gamma.dtype), dbeta.to(beta.dtype)


def encode(g: Tensor, threshold: float) -> Tensor:
    """``dL/d drive``; :func:`snnrl.ops.triton.coding.encode_backward_kernel` derives it."""
    adjoint = total = torch.zeros_like(as_state(g[0]))
    for step in as_state(g).flip(0):
        adjoint = adjoint + (step - threshold * adjoint)
        total = total + adjoint
    return total.to(g.dtype)


def rates(g: Tensor, time_steps: int) -> Tensor:
    """``dL/ds[t] = g / T``."""
    return (g / time_steps).expand(time_steps, *g.shape).contiguous()
