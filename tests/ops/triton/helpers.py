"""Neurons to try, and the naive operators and their autograd to hold the others against."""

from __future__ import annotations

import torch
from torch import Tensor

from snnrl.nn.encoders.base import StraightThrough
from snnrl.ops.clif import CLIFConstants
from snnrl.ops.dynamic import DynamicConstants
from snnrl.ops.dynamics import Dynamics, run
from snnrl.ops.lif import LIFConstants
from snnrl.ops.surrogate import Surrogate

SCALES = {
    "rectangular": 0.5,
    "sigmoid": 4.0,
    "tanh": 2.0,
    "triangle": 0.5,
    "atan": 2.0,
    "fast_sigmoid": 10.0,
    "learnable": 4.0,
}
CONSTANTS = {
    "lif": LIFConstants(decay=0.75),
    "clif": CLIFConstants(current_decay=0.5, decay=0.75),
    "dynamic": DynamicConstants(current_decay=0.5, tv=-0.172, tu=0.529, tr=0.021, ts=0.132),
}
NEURONS = list(CONSTANTS)
EPS = 1e-5


def make_dynamics(
    neuron: str, surrogate: str = "rectangular", detach_reset: bool = False
) -> Dynamics:
    shape = Surrogate(surrogate, SCALES[surrogate])
    return Dynamics(neuron, 0.5, shape, detach_reset, CONSTANTS[neuron])


def naive_neuron(x: Tensor, dynamics: Dynamics) -> Tensor:
    return run(x, dynamics)[0]


def naive_normalised(
    x: Tensor,
    statistics: tuple[Tensor, Tensor] | None,
    gamma: Tensor,
    beta: Tensor,
    dynamics: Dynamics,
    eps: float = EPS,
) -> Tensor:
    if statistics is None:
        var, mean = torch.var_mean(x, dim=(0, 1), correction=0)
    else:
        mean, var = statistics
    return naive_neuron((x - mean) / torch.sqrt(var + eps) * gamma + beta, dynamics)


def naive_encode(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    potential, spikes = torch.zeros_like(drive), []
    for _ in range(time_steps):
        potential = potential + drive
        spike = StraightThrough.apply(potential, threshold)
        potential = potential - threshold * spike
        spikes.append(spike)
    return torch.stack(spikes)


def gradients(output: Tensor, upstream: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, upstream)


def normal(*shape: int, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * scale + shift
