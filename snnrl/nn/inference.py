"""A network that only acts: one call of the native operators for all of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from snnrl.nn.coding import DirectEncoder, Encoder, PopulationEncoder
from snnrl.nn.fused import dynamics_of
from snnrl.nn.neurons import Neuron
from snnrl.nn.norm import PooledBatchNorm
from snnrl.ops import native
from snnrl.ops.native import InferenceLayer


class Layer(Protocol):
    """Linear map, normalisation, neuron."""

    linear: nn.Linear
    norm: nn.Module
    neuron: Neuron


def can_infer(encoder: Encoder, layers: Sequence[Layer]) -> bool:
    """Whether this pass needs no gradients and moves no statistics, so that samples are apart."""
    return (
        not torch.is_grad_enabled()
        and type(encoder) in (PopulationEncoder, DirectEncoder)
        and all(_is_constant(layer.norm) for layer in layers)
    )


def inferred_counts(encoder: Encoder, layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Observations ``[B, ...]`` -> spikes of the last layer over time ``[B, N]``."""
    described = [
        InferenceLayer(
            layer.linear.weight,
            layer.linear.bias,
            *_normalisation(layer.norm),
            dynamics_of(layer.neuron),
        )
        for layer in layers
    ]
    if isinstance(encoder, PopulationEncoder):
        return native.infer(encoder.drive(x), encoder.time_steps, encoder.THRESHOLD, described)
    return native.infer(x, encoder.time_steps, None, described)


def _is_constant(norm: nn.Module) -> bool:
    if type(norm) is PooledBatchNorm:
        return not norm.training and norm.is_plain()
    return type(norm) is nn.Identity


def _normalisation(norm: nn.Module) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor] | None, float]:
    if isinstance(norm, PooledBatchNorm):
        return (norm.moving_mean, norm.moving_var, norm.gamma, norm.beta), norm.eps
    return None, 0.0
