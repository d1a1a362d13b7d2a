"""The operators ``snnrl::triton_*``: Triton on CUDA, plain torch on a CPU, gradients by operators.

They are opaque to ``torch.compile``, which neither traces nor breaks at them. A dynamics travels
through an operator's schema as its last four arguments, see :func:`pack`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from snnrl.ops.dynamic import DynamicParameters
from snnrl.ops.dynamics import Dynamics
from snnrl.ops.surrogate import Surrogate
from snnrl.ops.triton import reference, reference_backward

Packed = tuple[str, str, bool, list[float]]

DYNAMICS = "str neuron, str surrogate, bool detach_reset, float[] constants"
PACKED = 4
AFFINE = "Tensor gamma, Tensor beta, float eps"

_LIBRARY = torch.library.Library("snnrl", "FRAGMENT")


def pack(dynamics: Dynamics) -> Packed:
    """What a schema can hold: the names, the switch and the numbers of a dynamics."""
    neuron, threshold, (surrogate, scale), detach_reset, decay, current_decay, parameters = dynamics
    constants = [threshold, scale, decay, current_decay, *parameters]
    return neuron, surrogate, detach_reset, constants


def unpack(neuron: str, surrogate: str, detach_reset: bool, constants: list[float]) -> Dynamics:
    """The inverse of :func:`pack`."""
    threshold, scale, decay, current_decay, *parameters = constants
    return Dynamics(
        neuron,
        threshold,
        Surrogate(surrogate, scale),
        detach_reset,
        decay,
        current_decay,
        DynamicParameters(*parameters),
    )


def _unpacking(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function(..., dynamics)`` as an operator calls it."""
    return lambda *args: function(*args[:-PACKED], unpack(*args[-PACKED:]))


@cache
def _launcher(module: str, function: str) -> Callable[..., Any]:
    # Triton is imported when a kernel is launched and not before: the package works without it.
    launcher: Callable[..., Any] = getattr(import_module(f"snnrl.ops.triton.{module}"), function)
    return launcher


def _launch(module: str, function: str, *args: Any) -> Any:
    # Triton launches on the current device, which need not be the tensor's.
    with torch.cuda.device(args[0].device):
        return _launcher(module, function)(*args)


def _define(
    schema: str, cpu: Callable[..., Any], module: str, function: str, fake: Callable[..., Any]
) -> None:
    name = schema.partition("(")[0]
    cuda: Callable[..., Any] = partial(_launch, module, function)
    if DYNAMICS in schema:
        cpu, cuda = _unpacking(cpu), _unpacking(cuda)
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, cpu, "CPU")
    _LIBRARY.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"snnrl::{name}", fake, lib=_LIBRARY)


def _like(x: Tensor) -> Tensor:
    """A contiguous tensor of the shape of ``x``: ``empty_like`` would keep its strides."""
    return x.new_empty(x.shape)


# The neuron alone.


def _keep_x(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *ctx.packed = inputs
    ctx.save_for_backward(x)


def _neuron_gradient(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    (x,) = ctx.saved_tensors
    return torch.ops.snnrl.triton_neuron_backward(g, x, *ctx.packed), *[None] * PACKED


_define(
    f"triton_neuron(Tensor x, {DYNAMICS}) -> Tensor",
    reference.neuron,
    "neurons",
    "neuron_forward",
    lambda x, *_: _like(x),
)
_define(
    f"triton_neuron_backward(Tensor g, Tensor x, {DYNAMICS}) -> Tensor",
    reference_backward.neuron,
    "neurons",
    "neuron_backward",
    lambda g, x, *_: _like(x),
)
torch.library.register_autograd(
    "snnrl::triton_neuron", _neuron_gradient, setup_context=_keep_x, lib=_LIBRARY
)


def neuron(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Spikes of currents ``x[T, B, ...]``, of its shape and dtype; the neurons start at rest."""
    spikes: Tensor = torch.ops.snnrl.triton_neuron(x, *pack(dynamics))
    return spikes


# Normalisation and neuron.


def _per_feature(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[2], dtype=torch.promote_types(x.dtype, torch.float32))


def _keep_normalised(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, gamma, beta, ctx.eps, *ctx.packed = inputs
    _, mean, var = output
    ctx.mark_non_differentiable(mean, var)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, mean, var, gamma, beta)


def _normalised_gradient(ctx: Any, g: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    dx, dgamma, dbeta = torch.ops.snnrl.triton_normalised_neuron_backward(
        g, *ctx.saved_tensors, ctx.eps, True, *ctx.packed
    )
    return dx, dgamma, dbeta, None, *[None] * PACKED


def _keep_given(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps = inputs[:-PACKED]
    ctx.packed = inputs[-PACKED:]
    ctx.save_for_backward(*tensors)


def _given_gradient(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    dx, dgamma, dbeta = torch.ops.snnrl.triton_normalised_neuron_backward(
        g, *ctx.saved_tensors, ctx.eps, False, *ctx.packed
    )
    return dx, None, None, dgamma, dbeta, None, *[None] * PACKED


_define(
    f"triton_normalised_neuron(Tensor x, {AFFINE}, {DYNAMICS}) -> (Tensor, Tensor, Tensor)",
    reference.normalised_neuron,
    "normalised",
    "normalised_forward",
    lambda x, *_: (_like(x), _per_feature(x), _per_feature(x)),
)
_define(
    f"triton_given_neuron(Tensor x, Tensor mean, Tensor var, {AFFINE}, {DYNAMICS}) -> Tensor",
    reference.given_neuron,
    "normalised",
    "given_forward",
    lambda x, *_: _like(x),
)
_define(
    "triton_normalised_neuron_backward(Tensor g, Tensor x, Tensor mean, Tensor var, "
    f"{AFFINE}, bool pooled, {DYNAMICS}) -> (Tensor, Tensor, Tensor)",
    reference_backward.normalised_neuron,
    "normalised_backward",
    "normalised_backward",
    lambda g, x, mean, var, gamma, beta, *_: (_like(x), _like(gamma), _like(beta)),
)
torch.library.register_autograd(
    "snnrl::triton_normalised_neuron",
    _normalised_gradient,
    setup_context=_keep_normalised,
    lib=_LIBRARY,
)
torch.library.register_autograd(
    "snnrl::triton_given_neuron", _given_gradient, setup_context=_keep_given, lib=_LIBRARY
)


def normalised_neuron(
    x: Tensor,
    statistics: tuple[Tensor, Tensor] | None,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    dynamics: Dynamics,
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes of ``(x - mean) / sqrt(var + eps) gamma + beta``, and the statistics used.

    :param x: ``[T, B, N]``
    :param statistics: mean and variance ``[N]``, constants; ``None``: those of ``x`` over (T, B),
        the variance biased, with gradients through them
    :return: spikes of the shape and dtype of ``x``; mean and variance ``[N]`` without gradient
    """
    if statistics is None:
        spikes, mean, var = torch.ops.snnrl.triton_normalised_neuron(
            x, gamma, beta, eps, *pack(dynamics)
        )
        return spikes, mean, var
    mean, var = statistics
    spikes = torch.ops.snnrl.triton_given_neuron(x, mean, var, gamma, beta, eps, *pack(dynamics))
    return spikes, mean, var


# Population coding.


def _keep_threshold(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.threshold = inputs[2]


def _encode_gradient(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
    return torch.ops.snnrl.triton_encode_backward(g, ctx.threshold), None, None


def _keep_time_steps(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.time_steps = inputs[0].shape[0]


def _rates_gradient(ctx: Any, g: Tensor) -> Tensor:
    dspikes: Tensor = torch.ops.snnrl.triton_rates_backward(g, ctx.time_steps)
    return dspikes


_define(
    "triton_encode(Tensor drive, SymInt time_steps, float threshold) -> Tensor",
    reference.encode,
    "coding",
    "encode_forward",
    lambda drive, time_steps, _: drive.new_empty(time_steps, *drive.shape),
)
_define(
    "triton_encode_backward(Tensor g, float threshold) -> Tensor",
    reference_backward.encode,
    "coding",
    "encode_backward",
    lambda g, _: g.new_empty(g.shape[1:]),
)
_define(
    "triton_rates(Tensor spikes) -> Tensor",
    reference.rates,
    "coding",
    "rates_forward",
    lambda spikes: spikes.new_empty(spikes.shape[1:]),
)
_define(
    "triton_rates_backward(Tensor g, SymInt time_steps) -> Tensor",
    reference_backward.rates,
    "coding",
    "rates_backward",
    lambda g, time_steps: g.new_empty(time_steps, *g.shape),
)
torch.library.register_autograd(
    "snnrl::triton_encode", _encode_gradient, setup_context=_keep_threshold, lib=_LIBRARY
)
torch.library.register_autograd(
    "snnrl::triton_rates", _rates_gradient, setup_context=_keep_time_steps, lib=_LIBRARY
)


def encode(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    """Spikes ``[T, B, M]`` of a drive ``[B, M]``: integrate, spike, soft reset."""
    spikes: Tensor = torch.ops.snnrl.triton_encode(drive, time_steps, threshold)
    return spikes


def rates(spikes: Tensor) -> Tensor:
    """Mean over time ``[B, N]`` of spikes ``[T, B, N]``."""
    result: Tensor = torch.ops.snnrl.triton_rates(spikes)
    return result
