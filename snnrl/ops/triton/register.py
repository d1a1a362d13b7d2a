"""The operators ``snnrl::triton_*``: Triton on CUDA, with operators for their gradients.

They are opaque to ``torch.compile``, which neither traces them nor breaks the graph at them. A
dynamics passes through an operator's schema as its last six arguments, see :func:`pack`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from snnrl.errors import UserError
from snnrl.ops.confidence import ConfidenceRule, MovedLayer
from snnrl.ops.dynamics import Dynamics

Packed = tuple[Tensor, Tensor, str, str, bool, list[float]]

DYNAMICS = (
    "Tensor threshold, Tensor scale, str neuron, str surrogate, bool detach_reset, "
    "float[] constants"
)
PACKED = 6
AFFINE = "Tensor gamma, Tensor beta, float eps"

_LIBRARY = torch.library.Library("snnrl", "FRAGMENT")


def pack(dynamics: Dynamics, device: torch.device) -> Packed:
    """Return a dynamics as types that a schema can hold: the operands, the names, the switch and
    the numbers.

    :raises UserError: an operand that is no number of float32 on the device, or is to get a
        gradient
    """
    if dynamics.learns():
        raise UserError(
            "kernel=triton: has no gradient of what a neuron or its surrogate learns; expected "
            "kernel=native, compile or naive"
        )
    neuron, threshold, (surrogate, scale), detach_reset, constants = dynamics
    return (
        _operand("threshold", threshold, device),
        _operand("scale of a surrogate", scale, device),
        neuron,
        surrogate,
        detach_reset,
        [float(constant) for constant in constants],
    )


def _operand(name: str, value: float | Tensor, device: torch.device) -> Tensor:
    if not isinstance(value, Tensor):
        in_graph = device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if in_graph or torch.compiler.is_compiling():
            # Tensors of a CUDA graph cannot be kept outside of it.
            return torch.full((), value, dtype=torch.float32, device=device)
        return _kept_operand(value, device)
    if value.requires_grad and torch.is_grad_enabled():
        raise UserError(
            f"kernel=triton: cannot compute the gradient of the {name}; expected one that "
            "requires none, or "
            "kernel=naive"
        )
    if value.dim() or value.dtype != torch.float32 or value.device != device:
        raise UserError(
            f"kernel=triton: takes a {name} of float32 without dimensions on {device}, not "
            f"{value.dtype} of shape {tuple(value.shape)} on {value.device}"
        )
    return value


@lru_cache(maxsize=64)
def _kept_operand(value: float, device: torch.device) -> Tensor:
    # It is saved for gradients later, whatever is computed now.
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=torch.float32, device=device)


def _composed(function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function(..., operands, program)`` with the arguments of an operator."""
    *own, threshold, scale, neuron, surrogate, detach_reset, constants = args
    made = _loaded("program", "program")(neuron, surrogate, detach_reset, tuple(constants))
    return function(*own, (threshold, scale), made)


@cache
def _loaded(module: str, function: str) -> Callable[..., Any]:
    # Triton is imported only when a kernel is launched: the package works without it.
    found: Callable[..., Any] = getattr(import_module(f"snnrl.ops.triton.{module}"), function)
    return found


def _launch(module: str, function: str, *args: Any) -> Any:
    # Triton launches on the current device, which need not be the tensors'.
    device = next(arg.device for arg in tree_leaves(args) if isinstance(arg, Tensor))
    with torch.cuda.device(device):
        return _loaded(module, function)(*args)


def _define(schema: str, module: str, function: str, fake: Callable[..., Any]) -> None:
    name = schema.partition("(")[0]
    launch: Callable[..., Any] = partial(_launch, module, function)
    if DYNAMICS in schema:
        launch = partial(_composed, launch)
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, launch, "CUDA")
    torch.library.register_fake(f"snnrl::{name}", fake, lib=_LIBRARY)


def _like(x: Tensor) -> Tensor:
    """Return a contiguous tensor of the shape of ``x``: ``empty_like`` would keep its strides."""
    return x.new_empty(x.shape)


def _counts_like(x: Tensor, counts: bool) -> Tensor:
    return x.new_empty(x.shape[1:] if counts else 0)


def _keep(ctx: Any, tensors: Sequence[Tensor], packed: Sequence[Any]) -> None:
    """Save tensors and a dynamics for a gradient."""
    threshold, scale, *ctx.names = packed
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, threshold, scale)


# The neuron alone.


def _keep_x(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, counts, *packed = inputs
    if not counts:
        ctx.mark_non_differentiable(output[1])
    _keep(ctx, (x,), packed)


def _neuron_gradient(ctx: Any, g: Tensor | None, g_counts: Tensor | None) -> tuple[Any, ...]:
    dx = torch.ops.snnrl.triton_neuron_backward(g, g_counts, *ctx.saved_tensors, *ctx.names)
    return dx, None, *[None] * PACKED


_define(
    f"triton_neuron(Tensor x, bool counts, {DYNAMICS}) -> (Tensor, Tensor)",
    "neurons",
    "neuron_forward",
    lambda x, counts, *_: (_like(x), _counts_like(x, counts)),
)
_define(
    f"triton_neuron_backward(Tensor? g, Tensor? g_counts, Tensor x, {DYNAMICS}) -> Tensor",
    "neurons",
    "neuron_backward",
    lambda g, g_counts, x, *_: _like(x),
)
torch.library.register_autograd(
    "snnrl::triton_neuron", _neuron_gradient, setup_context=_keep_x, lib=_LIBRARY
)


def neuron(x: Tensor, dynamics: Dynamics, counts: bool = False) -> tuple[Tensor, Tensor]:
    """Return the spikes of currents ``x[T, B, ...]``, of its shape and dtype; the neurons start at
    rest.

    :return: spikes, and their sum over time ``[B, ...]``, which is empty without ``counts``
    """
    packed = pack(dynamics, x.device)
    spikes, counted = torch.ops.snnrl.triton_neuron(x, counts, *packed)
    return spikes, counted


# Normalisation and neuron.


def _per_feature(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[2], dtype=torch.promote_types(x.dtype, torch.float32))


def _keep_normalised(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, gamma, beta, ctx.eps, counts, *packed = inputs
    _, mean, var, counted = output
    ctx.mark_non_differentiable(mean, var, *([] if counts else [counted]))
    _keep(ctx, (x, mean, var, gamma, beta), packed)


def _normalised_gradient(ctx: Any, g: Any, mean: None, var: None, g_counts: Any) -> tuple[Any, ...]:
    *tensors, threshold, scale = ctx.saved_tensors
    dx, dgamma, dbeta = torch.ops.snnrl.triton_normalised_neuron_backward(
        g, g_counts, *tensors, ctx.eps, True, threshold, scale, *ctx.names
    )
    return dx, dgamma, dbeta, None, None, *[None] * PACKED


def _keep_given(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.eps, counts = inputs[:-PACKED]
    if not counts:
        ctx.mark_non_differentiable(output[1])
    _keep(ctx, tensors, inputs[-PACKED:])


def _given_gradient(ctx: Any, g: Tensor | None, g_counts: Tensor | None) -> tuple[Any, ...]:
    *tensors, threshold, scale = ctx.saved_tensors
    dx, dgamma, dbeta = torch.ops.snnrl.triton_normalised_neuron_backward(
        g, g_counts, *tensors, ctx.eps, False, threshold, scale, *ctx.names
    )
    return dx, None, None, dgamma, dbeta, None, None, *[None] * PACKED


_define(
    f"triton_normalised_neuron(Tensor x, {AFFINE}, bool counts, {DYNAMICS}) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    "normalised",
    "normalised_forward",
    lambda x, gamma, beta, eps, counts, *_: (
        _like(x),
        _per_feature(x),
        _per_feature(x),
        _counts_like(x, counts),
    ),
)
_define(
    f"triton_given_neuron(Tensor x, Tensor mean, Tensor var, {AFFINE}, bool counts, {DYNAMICS}) "
    "-> (Tensor, Tensor)",
    "normalised",
    "given_forward",
    lambda x, mean, var, gamma, beta, eps, counts, *_: (_like(x), _counts_like(x, counts)),
)
_define(
    "triton_normalised_neuron_backward(Tensor? g, Tensor? g_counts, Tensor x, Tensor mean, "
    f"Tensor var, {AFFINE}, bool pooled, {DYNAMICS}) -> (Tensor, Tensor, Tensor)",
    "normalised_backward",
    "normalised_backward",
    lambda g, g_counts, x, mean, var, gamma, beta, *_: (_like(x), _like(gamma), _like(beta)),
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
    counts: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the spikes of ``(x - mean) / sqrt(var + eps) gamma + beta``, and the statistics used.

    :param x: ``[T, B, N]``
    :param statistics: mean and variance ``[N]``, constants; ``None``: those of ``x`` over (T, B),
        the variance biased, with gradients through them
    :return: spikes of the shape and dtype of ``x``; mean and variance ``[N]`` without gradient; the
        spikes' sum over time ``[B, N]``, which is empty without ``counts``
    """
    packed = pack(dynamics, x.device)
    ops = torch.ops.snnrl
    if statistics is None:
        spikes, mean, var, counted = ops.triton_normalised_neuron(
            x, gamma, beta, eps, counts, *packed
        )
        return spikes, mean, var, counted
    mean, var = statistics
    spikes, counted = ops.triton_given_neuron(x, mean, var, gamma, beta, eps, counts, *packed)
    return spikes, mean, var, counted


# Population coding.


def _keep_threshold(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.threshold = inputs[2]


def _encode_gradient(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
    return torch.ops.snnrl.triton_encode_backward(g, ctx.threshold), None, None


_define(
    "triton_encode(Tensor drive, SymInt time_steps, float threshold) -> Tensor",
    "coding",
    "encode_forward",
    lambda drive, time_steps, _: drive.new_empty(time_steps, *drive.shape),
)
_define(
    "triton_encode_backward(Tensor g, float threshold) -> Tensor",
    "coding",
    "encode_backward",
    lambda g, _: g.new_empty(g.shape[1:]),
)
torch.library.register_autograd(
    "snnrl::triton_encode", _encode_gradient, setup_context=_keep_threshold, lib=_LIBRARY
)


def encode(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    """Return the spikes ``[T, B, M]`` of a drive ``[B, M]``: integrate, spike, soft reset."""
    spikes: Tensor = torch.ops.snnrl.triton_encode(drive, time_steps, threshold)
    return spikes


def _keep_fields(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, _, ctx.threshold = inputs
    ctx.save_for_backward(*tensors)


def _fields_gradient(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    of_seen, *of_fields = ctx.needs_input_grad[:3]
    dseen, dmean, dstd = torch.ops.snnrl.triton_encode_fields_backward(
        g, *ctx.saved_tensors, ctx.threshold, of_seen, any(of_fields)
    )
    fields = (dmean, dstd) if any(of_fields) else (None, None)
    return dseen if of_seen else None, *fields, None, None


_define(
    "triton_encode_fields(Tensor seen, Tensor mean, Tensor std, SymInt time_steps, "
    "float threshold) -> Tensor",
    "receptive_fields",
    "fields_forward",
    lambda seen, mean, std, time_steps, _: seen.new_empty(
        (time_steps, seen.shape[0], mean.shape[0] * mean.shape[1]),
        dtype=torch.promote_types(seen.dtype, mean.dtype),
    ),
)
_define(
    "triton_encode_fields_backward(Tensor g, Tensor seen, Tensor mean, Tensor std, "
    "float threshold, bool of_seen, bool of_fields) -> (Tensor, Tensor, Tensor)",
    "receptive_fields",
    "fields_backward",
    lambda g, seen, mean, std, threshold, of_seen, of_fields: (
        _like(seen) if of_seen else seen.new_empty(0),
        *(_like(field) if of_fields else field.new_empty(0) for field in (mean, std)),
    ),
)
torch.library.register_autograd(
    "snnrl::triton_encode_fields", _fields_gradient, setup_context=_keep_fields, lib=_LIBRARY
)


def encode_fields(
    seen: Tensor, mean: Tensor, std: Tensor, time_steps: int, threshold: float
) -> Tensor:
    """Return the spikes ``[T, B, D * P]`` of observations ``[B, D]``, whose numbers drive P neurons
    each by ``exp(-(o - mean)^2 / (2 std^2))``; mean and std ``[D, P]``."""
    spikes: Tensor = torch.ops.snnrl.triton_encode_fields(seen, mean, std, time_steps, threshold)
    return spikes


def _keep_counts(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    counts, weight, _, ctx.time_steps = inputs
    ctx.save_for_backward(counts, weight)


def _decode_gradient(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.snnrl.triton_decode_backward(g, *ctx.saved_tensors, ctx.time_steps)
    return *gradients, None


_define(
    "triton_decode(Tensor counts, Tensor weight, Tensor bias, int time_steps) -> Tensor",
    "decoding",
    "decode_forward",
    lambda counts, weight, *_: counts.new_empty(
        (counts.shape[0], weight.shape[0]),
        dtype=torch.promote_types(counts.dtype, weight.dtype),
    ),
)
_define(
    "triton_decode_backward(Tensor g, Tensor counts, Tensor weight, int time_steps) "
    "-> (Tensor, Tensor, Tensor)",
    "decoding",
    "decode_backward",
    lambda g, counts, weight, _: (
        _like(counts),
        _like(weight),
        weight.new_empty(weight.shape[:1]),
    ),
)
torch.library.register_autograd(
    "snnrl::triton_decode", _decode_gradient, setup_context=_keep_counts, lib=_LIBRARY
)


def decode(counts: Tensor, weight: Tensor, bias: Tensor, time_steps: int) -> Tensor:
    """Return values ``[B, A]``, ``sum_p (n_p / T) w_p + b``, of spikes over time ``[B, A * P]``."""
    values: Tensor = torch.ops.snnrl.triton_decode(counts, weight, bias, time_steps)
    return values


# Moving statistics.


_define(
    "triton_move_statistics(Tensor(a!)[] changed, Tensor[] batch, str variant, float smoothing, "
    "float n, float? process_noise) -> ()",
    "confidence",
    "move_statistics",
    lambda *_: None,
)


def move_statistics(layers: Sequence[MovedLayer], rule: ConfidenceRule) -> None:
    """Move the statistics of all layers by one rule, in place."""
    changed = [tensor for layer in layers for tensor in layer.changed()]
    batch = [value for layer in layers for value in layer.batch]
    torch.ops.snnrl.triton_move_statistics(changed, batch, *rule)
    # A pass whose gradients are still to be computed may have kept them.
    torch.autograd.graph.increment_version(changed)
