"""Gradients of the C++ operators. They save a layer's currents and the events of its spikes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnrl.ops.dynamics import Dynamics, FusedLayer
from snnrl.ops.native import calls
from snnrl.ops.native.arguments import Events
from snnrl.ops.native.dense import product
from snnrl.ops.native.derivatives import refuse_second_derivatives


def _both(spikes: Tensor | None, counts: Tensor | None, x: Tensor) -> Tensor:
    """Return the gradient of spikes ``[T, B, ...]`` from those of the spikes and of their sum over
    time."""
    if counts is None:
        assert spikes is not None
        return spikes
    # The same array at every step: calls.py accepts it without a copy.
    over_time = counts.contiguous().expand(x.shape)
    return over_time if spikes is None else spikes + over_time


class NeuronFunction(torch.autograd.Function):
    """Currents -> spikes, and their sum over time; see :func:`snnrl.ops.native.neuron`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, learned: Tensor | None, dynamics: Dynamics, counts: bool
    ) -> tuple[Tensor, Tensor | None]:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.dynamics, ctx.learned = dynamics, _size(learned)
        ctx.set_materialize_grads(False)
        counted = torch.empty_like(x[0]) if counts else None
        return calls.neuron_forward(x, dynamics, counted), counted

    @staticmethod
    def backward(
        ctx: Any, spikes: Tensor | None, counts: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        (x,) = ctx.saved_tensors
        gradient, learns = _both(spikes, counts, x), ctx.learned is not None
        dx, dlearned = calls.neuron_backward(x, gradient, ctx.dynamics, learns=learns)
        return dx, _fitting(dlearned, ctx.learned), None, None


def _size(learned: Tensor | None) -> int | None:
    return None if learned is None else len(learned)


def _fitting(dlearned: Tensor | None, size: int | None) -> Tensor | None:
    """Return the gradient of what learns, where the scale may be one for all time steps."""
    if dlearned is None or size is None:
        return None
    # A scale that does not learn takes any gradient.
    return dlearned[:size]


def _keep(
    ctx: Any,
    x: Tensor,
    learned: Tensor | None,
    layer: FusedLayer,
    used: tuple[Tensor, Tensor],
    *more: Tensor,
) -> tuple[Tensor, Tensor]:
    """Save the tensors that a layer's gradient needs, and ``more``; return its mean and
    variance."""
    mean, var = used
    if layer.statistics is not None:
        # The moving statistics may change between this pass and its gradient.
        mean, var = mean.clone(), var.clone()
    ctx.of_batch, ctx.renormalises = layer.statistics is None, layer.renormalises
    ctx.set_materialize_grads(False)
    ctx.eps, ctx.dynamics, ctx.learned = layer.eps, layer.dynamics, _size(learned)
    ctx.mark_non_differentiable(mean, var)
    ctx.save_for_backward(x, mean, var, layer.gamma, layer.beta, *more)
    return mean, var


def _through(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Return gradients of x, what learns, gamma and beta from that of the spikes ``[T, B, N]``."""
    x, mean, var, gamma, beta = ctx.saved_tensors[:5]
    layer = FusedLayer(
        (mean, var), gamma, beta, ctx.eps, ctx.dynamics, renormalises=ctx.renormalises
    )
    dx, dgamma, dbeta, dlearned = calls.normalised_backward(
        x, layer, gradient, of_batch=ctx.of_batch, learns=ctx.learned is not None
    )
    return dx, _fitting(dlearned, ctx.learned), dgamma, dbeta


class NormalisedNeuronFunction(torch.autograd.Function):
    """Currents -> spikes, mean, variance, and the spikes' sum over time; see
    :func:`snnrl.ops.native.normalised_neuron`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        learned: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        layer: FusedLayer,
        counts: bool,
    ) -> tuple[Tensor | None, ...]:
        x = x.contiguous()
        spikes, counted = torch.empty_like(x), torch.empty_like(x[0]) if counts else None
        used = calls.normalised_forward(x, layer, spikes=spikes, counts=counted)
        return spikes, *_keep(ctx, x, learned, layer, used), counted

    @staticmethod
    def backward(
        ctx: Any, spikes: Tensor | None, mean: None, var: None, counts: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        x = ctx.saved_tensors[0]
        return *_through(ctx, _both(spikes, counts, x)), None, None


class FireCountsFunction(torch.autograd.Function):
    """Currents -> spikes over time, mean, variance; see :func:`snnrl.ops.native.fire_counts`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        learned: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        layer: FusedLayer,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        counts = torch.empty_like(x[0])
        used = calls.normalised_forward(x, layer, counts=counts)
        return counts, *_keep(ctx, x, learned, layer, used)

    @staticmethod
    def backward(ctx: Any, counts: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        return *_through(ctx, _both(None, counts, ctx.saved_tensors[0])), None


class FireLinearFunction(torch.autograd.Function):
    """Currents -> the next layer's currents, mean, variance, and the spikes' sum over time; see
    :func:`snnrl.ops.native.fire_linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        learned: Tensor | None,
        gamma: Tensor,
        beta: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        layer: FusedLayer,
        counts: bool,
    ) -> tuple[Tensor | None, ...]:
        x = x.contiguous()
        events = Events.room_for(x.shape[0] * x.shape[1], x.shape[2])
        counted = torch.empty_like(x[0]) if counts else None
        used = calls.normalised_forward(x, layer, events=events, counts=counted)
        mean, var = _keep(ctx, x, learned, layer, used, *events[:3], weight)
        currents = calls.event_product(events, weight, bias)
        return currents.view(*x.shape[:2], len(weight)), mean, var, counted

    @staticmethod
    def backward(
        ctx: Any, currents: Tensor | None, mean: None, var: None, counts: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        x, weight = ctx.saved_tensors[0], ctx.saved_tensors[-1]
        spikes = dweight = dbias = None
        if currents is not None:
            needs_weight, needs_bias = ctx.needs_input_grad[4:6]
            dweight, dbias = _of_map(ctx, currents, needs_weight, needs_bias)
            spikes = product(currents, weight)
        return *_through(ctx, _both(spikes, counts, x)), dweight, dbias, None, None


class SpikeLinearFunction(torch.autograd.Function):
    """Spikes -> currents; see :func:`snnrl.ops.native.spike_linear`."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        events = calls.find_events(spikes.flatten(0, -2))
        ctx.save_for_backward(*events[:3], weight)
        currents = calls.event_product(events, weight, bias)
        return currents.view(*spikes.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        weight = ctx.saved_tensors[-1]
        needs_spikes, needs_weight, needs_bias = ctx.needs_input_grad
        dweight, dbias = _of_map(ctx, gradient, needs_weight, needs_bias)
        return product(gradient, weight) if needs_spikes else None, dweight, dbias


class EncodedLinearFunction(torch.autograd.Function):
    """Drive -> currents; see :func:`snnrl.ops.native.encoded_linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        drive: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        time_steps: int,
        threshold: float,
    ) -> Tensor:
        events = Events.room_for(time_steps * len(drive), drive.shape[1])
        calls.encode(drive, time_steps, threshold, events)
        ctx.save_for_backward(*events[:3], weight)
        ctx.threshold = threshold
        currents = calls.event_product(events, weight, bias)
        return currents.view(time_steps, len(drive), len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivatives()
        weight = ctx.saved_tensors[-1]
        needs_drive, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        dweight, dbias = _of_map(ctx, gradient, needs_weight, needs_bias)
        over_time = _over_time(gradient, ctx.threshold) if needs_drive else None
        ddrive = None if over_time is None else product(over_time, weight)
        return ddrive, dweight, dbias, None, None


def _of_map(
    ctx: Any, gradient: Tensor, needs_weight: bool, needs_bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return gradients of weight and bias of a linear map from that of its outputs ``[..., N]``."""
    indices, starts, counts, weight = ctx.saved_tensors[-4:]
    events = Events(indices, starts, counts, weight.shape[1])
    rows = gradient.contiguous().flatten(0, -2)
    return (
        calls.event_gradient(events, rows) if needs_weight else None,
        rows.sum(0) if needs_bias else None,
    )


def _over_time(gradient: Tensor, threshold: float) -> Tensor:
    """Return ``sum_t c[t] gradient[t]``, ``c[t] = sum_{k <= t} (1 - threshold)^k``: ``[B, N]``.

    With the straight-through gradient the potential before step t's spike gets
    ``e[t] = g[t] + (1 - threshold) e[t+1]``, and the drive, which every step adds, the sum of all
    e: a fixed weight for each g[t]. So it can be summed before the product with the weights.
    """
    powers = (1 - threshold) ** torch.arange(len(gradient), dtype=torch.float64)
    weights = powers.cumsum(0).to(gradient.dtype)
    return (weights @ gradient.flatten(1)).view(gradient.shape[1:])
