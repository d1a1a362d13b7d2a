"""The operators ``snnrl::triton_*`` in plain torch, backward.

Formulas and not autograd, which an operator cannot rely on: it may be called below it. Their
derivations stand with the kernels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.ops.dynamics import Dynamics, run
from snnrl.ops.surrogate import DERIVATIVES


def as_state(x: Tensor) -> Tensor:
    """``x``, contiguous, in float32 or longer if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()


def upstream(g: Tensor | None, g_counts: Tensor | None, x: Tensor) -> Tensor:
    """``dL/ds`` from above and through the spikes' sum over time."""
    total = torch.zeros_like(as_state(x))
    for value in (g, g_counts):
        if value is not None:
            total = total + as_state(value)
    return total


def membranes(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Membrane potentials before reset, of the shape of ``x[T, B, ...]``."""
    state, potentials = None, []
    for t in range(len(x)):
        _, state = run(x[t : t + 1], dynamics, state)
        potentials.append(state.membrane)
    return torch.stack(potentials)


def neuron(g: Tensor | None, g_counts: Tensor | None, x: Tensor, dynamics: Dynamics) -> Tensor:
    """``dL/dx`` from ``g = dL/ds``; the neurons' ``triton_step.py`` derive it."""
    gradient = _neuron(upstream(g, g_counts, x), as_state(x), dynamics)
    return gradient.to(x.dtype)


def _neuron(g: Tensor, x: Tensor, dynamics: Dynamics) -> Tensor:
    v = membranes(x, dynamics)
    s = (v > dynamics.threshold).to(v.dtype)
    derivative = DERIVATIVES[dynamics.surrogate.name]
    slope = derivative(v - dynamics.threshold, dynamics.surrogate.scale)
    constants = dynamics.constants._asdict()
    current_decay = constants.get("current_decay", 0.0)
    lv = li = lu = torch.zeros_like(x[0])
    gradients = []
    for t in reversed(range(len(x))):
        if dynamics.neuron == "dynamic":
            tv, tu, tr, ts = (constants[name] for name in ("tv", "tu", "tr", "ts"))
            alpha = 2 * torch.where(s[t] > 0, tr, v[t]) * lv + tv * lu
            beta = lu + tu * lu - lv
            kept = alpha * (1 - s[t])
            through_reset = alpha * (tr - v[t]) + ts * beta
            lu = beta
        else:
            kept = constants["decay"] * (1 - s[t]) * lv
            through_reset = -constants["decay"] * v[t] * lv
        through_spike = g[t] if dynamics.detach_reset else g[t] + through_reset
        lv = kept + slope[t] * through_spike
        li = lv + current_decay * li
        gradients.append(li)
    return torch.stack(gradients[::-1])


def normalised_neuron(
    g: Tensor | None,
    g_counts: Tensor | None,
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
    delta = _neuron(upstream(g, g_counts, x), xhat * gamma + beta, dynamics)
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


def encode_fields(
    g: Tensor,
    seen: Tensor,
    mean: Tensor,
    std: Tensor,
    threshold: float,
    of_seen: bool,
    of_fields: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """``dL/do``, ``dL/dmean`` and ``dL/dstd``, empty where they are not wanted."""
    distance = as_state(seen).unsqueeze(-1) - mean
    drive = torch.exp(-(distance**2) / (2 * std**2))
    slope = encode(as_state(g), threshold).view_as(drive) * drive * distance / std**2
    wanted = (of_seen, of_fields, of_fields)
    found = (-slope.sum(-1), slope.sum(0), (slope * distance / std).sum(0))
    return tuple(
        gradient.to(of.dtype) if want else of.new_empty(0)
        for gradient, of, want in zip(found, (seen, mean, std), wanted, strict=True)
    )


def decode(
    g: Tensor, counts: Tensor, weight: Tensor, time_steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """``dL/dn``, ``dL/dw`` and ``dL/db``."""
    rates = (as_state(counts) / time_steps).unflatten(1, weight.shape)
    g = as_state(g).unsqueeze(-1)
    found = ((g * weight / time_steps).flatten(1), (g * rates).sum(0), g.sum((0, 2)))
    return tuple(
        gradient.to(of.dtype) for gradient, of in zip(found, (counts, weight, weight), strict=True)
    )
