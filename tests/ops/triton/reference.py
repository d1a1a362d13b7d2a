"""The operators ``snnrl::triton_*`` in plain torch, forward, so that a CPU can stand for a GPU.

State is float32 where x is shorter, as in the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from snnrl.ops.dynamics import CONSTANTS, Dynamics, run
from snnrl.ops.surrogate import Surrogate
from snnrl.ops.triton import register

from . import reference_backward
from .reference_backward import as_state


def neuron(x: Tensor, counts: bool, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    """Spikes of neurons at rest, of the shape and dtype of ``x[T, B, ...]``; their sum."""
    spikes = run(as_state(x), dynamics)[0].to(x.dtype)
    return spikes, spikes.sum(0) if counts else x.new_empty(0)


def given_neuron(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    counts: bool,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor]:
    """Spikes of ``(x - mean) / sqrt(var + eps) gamma + beta``; their sum."""
    y = (as_state(x) - mean) / torch.sqrt(var + eps) * gamma + beta
    return tuple(value.to(x.dtype) for value in neuron(y, counts, dynamics))


def normalised_neuron(
    x: Tensor, gamma: Tensor, beta: Tensor, eps: float, counts: bool, dynamics: Dynamics
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same with the statistics of ``x``, and these."""
    var, mean = torch.var_mean(as_state(x), dim=(0, 1), correction=0)
    spikes, counted = given_neuron(x, mean, var, gamma, beta, eps, counts, dynamics)
    return spikes, mean, var, counted


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


def encode_fields(
    seen: Tensor, mean: Tensor, std: Tensor, time_steps: int, threshold: float
) -> Tensor:
    """The same of ``a = exp(-(o - mean)^2 / (2 std^2))``, of observations ``[B, D]``."""
    distance = as_state(seen).unsqueeze(-1) - mean
    drive = torch.exp(-(distance**2) / (2 * std**2)).flatten(1)
    return encode(drive, time_steps, threshold).to(torch.promote_types(seen.dtype, mean.dtype))


def decode(counts: Tensor, weight: Tensor, bias: Tensor, time_steps: int) -> Tensor:
    """``sum_p (n_p / T) w_p + b``: values ``[B, A]`` of ``counts[B, A * P]``."""
    rates = (as_state(counts) / time_steps).unflatten(1, weight.shape)
    values = (rates * weight).sum(-1) + bias
    return values.to(torch.promote_types(counts.dtype, weight.dtype))


def move_statistics(
    changed: list[Tensor],
    batch: list[Tensor],
    variant: str,
    smoothing: float,
    n: float,
    process_noise: float | None,
) -> None:
    """The modules' rules, of each layer in turn."""
    width = 2 * len(changed) // len(batch)
    for i in range(len(batch) // 2):
        moving, prior, gain, *posterior = batched(changed[width * i : width * (i + 1)])
        mean, var = batch[2 * i : 2 * i + 2]
        for k, (seen, observed) in enumerate(((mean, var / n), (var, 2 * var * var / n))):
            delta = seen - moving[k]
            prior[k].lerp_(delta * delta, 1 - smoothing)
            weight = prior[k]
            if variant == "corrected":
                weight = (weight - observed).clamp(min=0)
            if variant == "kalman":
                drift = (weight - observed - posterior[0][k]).clamp(min=0)
                given = process_noise is not None
                weight = posterior[0][k] + (process_noise * observed if given else drift)
            total = weight + observed
            gain[k].copy_(torch.where(total > 0, weight / total, 0.0))
            if variant == "kalman":
                gain[k].copy_(torch.where(posterior[1][0], gain[k], 1.0))
                posterior[0][k].copy_(gain[k] * observed)
            moving[k].add_(gain[k] * delta)
        if variant == "kalman":
            posterior[1][0].fill_(True)


def batched(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Pairs of tensors; the last may be alone."""
    return [tensors[i : i + 2] for i in range(0, len(tensors), 2)]


def unpacking(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(..., dynamics)`` as an operator calls it."""

    def called(*args: Any) -> Any:
        *args, threshold, scale, neuron, surrogate, detach_reset, constants = args
        own = CONSTANTS[neuron](*constants)
        return function(
            *args, Dynamics(neuron, threshold, Surrogate(surrogate, scale), detach_reset, own)
        )

    return called


@cache
def register_for_a_cpu() -> None:
    """Have the operators run here, by these functions and those of :mod:`.reference_backward`."""
    for name, function in {
        "triton_neuron": unpacking(neuron),
        "triton_neuron_backward": unpacking(reference_backward.neuron),
        "triton_given_neuron": unpacking(given_neuron),
        "triton_normalised_neuron": unpacking(normalised_neuron),
        "triton_normalised_neuron_backward": unpacking(reference_backward.normalised_neuron),
        "triton_encode": encode,
        "triton_encode_fields": encode_fields,
        "triton_encode_fields_backward": reference_backward.encode_fields,
        "triton_decode": decode,
        "triton_decode_backward": reference_backward.decode,
        "triton_move_statistics": move_statistics,
        "triton_encode_backward": reference_backward.encode,
    }.items():
        register._LIBRARY.impl(name, function, "CPU")
