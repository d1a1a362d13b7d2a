"""Gradients of the C++ operators. Of a layer of neurons nothing is kept but its currents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from snnrl.ops.dynamics import Dynamics
from snnrl.ops.native import calls

# Dense products have a cost of their own for each row; a batch of one observation is too small
# for events to save anything.
FEWEST_ROWS = 16


class NeuronFunction(torch.autograd.Function):
    """Currents -> spikes; see :func:`snnrl.ops.native.neuron`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dynamics: Dynamics) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x)
        ctx.dynamics = dynamics
        return calls.neuron_forward(x, dynamics)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return calls.neuron_backward(x, gradient, ctx.dynamics), None


class NormalisedNeuronFunction(torch.autograd.Function):
    """Currents -> spikes, mean, variance; see :func:`snnrl.ops.native.normalised_neuron`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        given: tuple[Tensor, Tensor] | None,
        gamma: Tensor,
        beta: Tensor,
        eps: float,
        dynamics: Dynamics,
    ) -> tuple[Tensor, Tensor, Tensor]:
        x = x.contiguous()
        spikes, used = calls.normalised_forward(x, given, gamma, beta, eps, dynamics)
        # The moving statistics may move between this pass and its gradient.
        mean, var = (
            (used.mean, used.var) if given is None else (used.mean.clone(), used.var.clone())
        )
        ctx.save_for_backward(x, mean, var, gamma, beta)
        ctx.of_batch, ctx.eps, ctx.dynamics = used.of_batch, eps, dynamics
        ctx.mark_non_differentiable(mean, var)
        return spikes, mean, var

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor, *_: Tensor
    ) -> tuple[Tensor, None, Tensor, Tensor, None, None]:
        x, mean, var, gamma, beta = ctx.saved_tensors
        statistics = calls.Statistics(mean, var, ctx.of_batch)
        dx, dgamma, dbeta = calls.normalised_backward(
            x, statistics, gamma, beta, ctx.eps, gradient, ctx.dynamics
        )
        return dx, None, dgamma, dbeta, None, None


class SpikeLinearFunction(torch.autograd.Function):
    """Spikes -> currents; see :func:`snnrl.ops.native.spike_linear`."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        events = calls.find_events(spikes.contiguous().flatten(0, -2))
        ctx.save_for_backward(events.indices, events.counts, weight)
        currents = calls.event_product(events, weight, bias)
        return currents.view(*spikes.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        indices, counts, weight = ctx.saved_tensors
        events = calls.Events(indices, counts, weight.shape[1])
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, -2)
        needs_spikes, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            gradient @ weight if needs_spikes else None,
            calls.event_gradient(events, rows) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


class EncodedLinearFunction(torch.autograd.Function):
    """Drive -> currents; see :func:`snnrl.ops.native.encoded_linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        drive: Tensor,
        time_steps: int,
        threshold: float,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        spikes = calls.encode(drive.contiguous(), time_steps, threshold)
        events = calls.find_events(spikes.flatten(0, 1))
        ctx.save_for_backward(events.indices, events.counts, weight)
        ctx.threshold = threshold
        currents = calls.event_product(events, weight, bias)
        return currents.view(time_steps, len(drive), len(weight))

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, None, None, Tensor | None, Tensor | None]:
        indices, counts, weight = ctx.saved_tensors
        events = calls.Events(indices, counts, weight.shape[1])
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, 1)
        needs_drive, _, _, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _over_time(gradient, ctx.threshold) @ weight if needs_drive else None,
            None,
            None,
            calls.event_gradient(events, rows) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _over_time(gradient: Tensor, threshold: float) -> Tensor:
    """``sum_t c[t] gradient[t]``, ``c[t] = sum_{k <= t} (1 - threshold)^k``: ``[B, N]``.

    With the straight-through gradient the potential before step t's spike gets
    ``e[t] = g[t] + (1 - threshold) e[t+1]``, and the drive, which every step adds, the sum of all
    e: a fixed weight for each g[t]. So it can be summed before the product with the weights.
    """
    weight = torch.cumsum(
        (1 - threshold) ** torch.arange(len(gradient), dtype=torch.float64), dim=0
    )
    summed = weight.to(gradient.dtype) @ gradient.flatten(1)
    return summed.view(gradient.shape[1:])
