"""The operators in plain torch, forward: what runs on a CPU.

State is float32 where x is shorter, as in the kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnrl.ops.clif import clif
from snnrl.ops.dynamic import dynamic
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.lif import lif


def run(x: Tensor, dynamics: Dynamics, state: Any = None) -> tuple[Tensor, Any]:
    """Spikes ``[T, B, ...]`` and the state after the last step, by the naive operators."""
    shared = (dynamics.threshold, dynamics.surrogate, dynamics.detach_reset)
    if dynamics.neuron == "lif":
        return lif(x, state, dynamics.decay, *shared)
    if dynamics.neuron == "clif":
        return clif(x, state, dynamics.current_decay, dynamics.decay, *shared)
    return dynamic(x, state, dynamics.current_decay, dynamics.parameters, *shared)


def neuron(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Spikes of neurons at rest, of the shape and dtype of ``x[T, B, ...]``."""
    spikes, _ = run(as_state(x), dynamics)
    return spikes.to(x.dtype)


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of ``x[T, B, N]`` over (T, B), ``[N]`` each."""
    var, mean = torch.var_mean(as_state(x), dim=(0, 1), correction=0)
    return mean, var


def given_neuron(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    dynamics: Dynamics,
) -> Tensor:
    """Spikes of ``(x - mean) / sqrt(var + eps) gamma + beta``."""
    y = (as_state(x) - mean) / torch.sqrt(var + eps) * gamma + beta
    return neuron(y, dynamics).to(x.dtype)


def normalised_neuron(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, dynamics: Dynamics
) -> tuple[Tensor, Tensor, Tensor]:
    """The same with the statistics of ``x``, and these."""
    mean, var = statistics(x)
    return given_neuron(x, mean, var, gamma, beta, eps, dynamics), mean, var


def encode(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    """``p = p + a``; ``s = 1{p > th}``; ``p = p - th s``: spikes ``[T, B, M]``."""
    currents = as_state(drive)
    potential = torch.zeros_like(currents)
    spikes = []
    for _ in range(time_steps):
        potential = potential + currents
        spike = (potential > threshold).to(potential.dtype)
        potential = potential - threshold * spike
        spikes.append(spike)
    return torch.stack(spikes).to(drive.dtype)


def rates(spikes: Tensor) -> Tensor:
    """Mean over time."""
    return spikes.contiguous().mean(0)


def as_state(x: Tensor) -> Tensor:
    """``x``, contiguous, in float32 or longer if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).contiguous()
