# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Gradients of the normalisation and the neuron in one.

With ``xhat = (x - mean) / sd``, ``sd = sqrt(var + eps)`` and ``delta = dL/dy`` of the neuron:
``dbeta = sum delta`` and ``dgamma = sum delta xhat`` over batch and time.

Statistics that are constants: ``dx = gamma / sd delta``. The batch's: mean and variance move with
each of the n elements, ``dmean/dx = 1 / n`` and ``dvar/dx = 2 (x - mean) / n``, so that
``dL/dmean = -gamma / sd dbeta`` and ``dL/dvar = -gamma / (2 sd^2) dgamma``. Together
``dx = gamma / sd (delta - dbeta / n - xhat dgamma / n)``.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton import normalised
from snnrl.ops.triton.channels import row_tile, stored_channel
from snnrl.ops.triton.launch import (
    CHANNELS,
    MOST_SPLITS,
    Operands,
    membrane_scratch,
    split_rows,
    tile_size,
)
from snnrl.ops.triton.program import Program
from snnrl.ops.triton.sweeps import gradient_sweep, load_operands


@triton.jit
def owned_backward_kernel(
    x_ptr,
    g_ptr,
    g_counts_ptr,
    dx_ptr,
    membranes_ptr,
    mean_ptr,
    var_ptr,
    gamma_ptr,
    beta_ptr,
    dgamma_ptr,
    dbeta_ptr,
    threshold_ptr,
    scale_ptr,
    eps,
    B,
    N,
    plane,
    T: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """A block of channels in one program: the sums, then, going back once more, ``dx``."""
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    channel = stored_channel(mean_ptr, var_ptr, gamma_ptr, beta_ptr, eps, columns, N)
    operands = load_operands(threshold_ptr, scale_ptr)
    zero = tl.zeros((ROWS, CHANNELS), tl.float32)
    sums = (zero, zero)
    for row in range(0, B, ROWS):
        at, mask = row_tile(row, B, columns, N, ROWS)
        sums = gradient_sweep(
            x_ptr,
            g_ptr,
            g_counts_ptr,
            None,
            membranes_ptr,
            at,
            mask,
            plane,
            channel,
            None,
            sums,
            operands,
            T,
            D,
        )
    dbeta, dgamma = tl.sum(sums[0], axis=0), tl.sum(sums[1], axis=0)
    tl.store(dbeta_ptr + columns, dbeta, mask=columns < N)
    tl.store(dgamma_ptr + columns, dgamma, mask=columns < N)
    means = ((dbeta / (T * B))[None, :], (dgamma / (T * B))[None, :])
    for row in range(0, B, ROWS):
        at, mask = row_tile(row, B, columns, N, ROWS)
        gradient_sweep(
            x_ptr,
            g_ptr,
            g_counts_ptr,
            dx_ptr,
            membranes_ptr,
            at,
            mask,
            plane,
            channel,
            means,
            sums,
            operands,
            T,
            D,
        )


@triton.jit
def split_kernel(
    x_ptr,
    g_ptr,
    g_counts_ptr,
    dx_ptr,
    membranes_ptr,
    mean_ptr,
    var_ptr,
    gamma_ptr,
    beta_ptr,
    dgammas_ptr,
    dbetas_ptr,
    threshold_ptr,
    scale_ptr,
    eps,
    B,
    N,
    plane,
    rows_each,
    T: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sums of one part of the rows, to ``[splits, N]``; and ``dx``, unless it needs the sums."""
    split = tl.program_id(0)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    channel = stored_channel(mean_ptr, var_ptr, gamma_ptr, beta_ptr, eps, columns, N)
    operands = load_operands(threshold_ptr, scale_ptr)
    zero = tl.zeros((ROWS, CHANNELS), tl.float32)
    sums = (zero, zero)
    first = split * rows_each
    end = tl.minimum(first + rows_each, B)
    for row in range(first, end, ROWS):
        at, mask = row_tile(row, end, columns, N, ROWS)
        sums = gradient_sweep(
            x_ptr,
            g_ptr,
            g_counts_ptr,
            dx_ptr,
            membranes_ptr,
            at,
            mask,
            plane,
            channel,
            (0.0, 0.0),
            sums,
            operands,
            T,
            D,
        )
    tl.store(dbetas_ptr + split * N + columns, tl.sum(sums[0], axis=0), mask=columns < N)
    tl.store(dgammas_ptr + split * N + columns, tl.sum(sums[1], axis=0), mask=columns < N)


@triton.jit
def merge_kernel(
    dgammas_ptr,
    dbetas_ptr,
    dgamma_ptr,
    dbeta_ptr,
    splits,
    N,
    SPLITS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """``dgamma`` and ``dbeta`` from the sums of the parts."""
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    offsets, mask = row_tile(0, splits, columns, N, SPLITS)
    dgamma = tl.sum(tl.load(dgammas_ptr + offsets, mask=mask, other=0.0), axis=0)
    dbeta = tl.sum(tl.load(dbetas_ptr + offsets, mask=mask, other=0.0), axis=0)
    tl.store(dgamma_ptr + columns, dgamma, mask=columns < N)
    tl.store(dbeta_ptr + columns, dbeta, mask=columns < N)


@triton.jit
def pooled_kernel(
    x_ptr,
    g_ptr,
    g_counts_ptr,
    dx_ptr,
    membranes_ptr,
    mean_ptr,
    var_ptr,
    gamma_ptr,
    beta_ptr,
    dgamma_ptr,
    dbeta_ptr,
    threshold_ptr,
    scale_ptr,
    eps,
    B,
    N,
    plane,
    T: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """``dx`` of a tile where the statistics are the batch's and the sums are in memory."""
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    at, mask = row_tile(tl.program_id(0) * ROWS, B, columns, N, ROWS)
    channel = stored_channel(mean_ptr, var_ptr, gamma_ptr, beta_ptr, eps, columns, N)
    operands = load_operands(threshold_ptr, scale_ptr)
    dbeta = tl.load(dbeta_ptr + columns, mask=columns < N, other=0.0)
    dgamma = tl.load(dgamma_ptr + columns, mask=columns < N, other=0.0)
    means = ((dbeta / (T * B))[None, :], (dgamma / (T * B))[None, :])
    zero = tl.zeros((ROWS, CHANNELS), tl.float32)
    gradient_sweep(
        x_ptr,
        g_ptr,
        g_counts_ptr,
        dx_ptr,
        membranes_ptr,
        at,
        mask,
        plane,
        channel,
        means,
        (zero, zero),
        operands,
        T,
        D,
    )


def normalised_backward(
    g: Tensor | None,
    g_counts: Tensor | None,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    pooled: bool,
    operands: Operands,
    program: Program,
) -> tuple[Tensor, Tensor, Tensor]:
    """``dx[T, B, N]``, ``dgamma[N]`` and ``dbeta[N]`` from ``g = dL/ds``.

    :param g_counts: gradient of the spikes' sum over time; of the two one may be ``None``
    :param pooled: mean and var are those of ``x`` and not constants
    """
    x = x.contiguous()
    upstream = tuple(None if value is None else value.contiguous() for value in (g, g_counts))
    time_steps, batch, features = x.shape
    dx, membranes = torch.empty_like(x), membrane_scratch(x)
    dgamma, dbeta = (torch.empty(features, dtype=torch.float32, device=x.device) for _ in range(2))
    statistics = (mean.contiguous(), var.contiguous(), gamma.contiguous(), beta.contiguous())
    sizes = (eps, batch, features, batch * features)
    steps = (time_steps, program)
    if pooled and time_steps * batch <= normalised.LARGEST_OWNED:
        channels = normalised.OWNED_CHANNELS
        owned_backward_kernel[(triton.cdiv(features, channels),)](
            x,
            *upstream,
            dx,
            membranes,
            *statistics,
            dgamma,
            dbeta,
            *operands,
            *sizes,
            *steps,
            2 * tile_size(time_steps) // channels,
            channels,
            num_warps=normalised.OWNED_WARPS,
            enable_fp_fusion=False,
        )
        return dx, dgamma.to(gamma.dtype), dbeta.to(beta.dtype)
    rows = tile_size(time_steps) // CHANNELS
    rows_each, splits = split_rows(batch, rows)
    blocks = triton.cdiv(features, CHANNELS)
    dgammas, dbetas = (
        torch.empty(splits, features, dtype=torch.float32, device=x.device) for _ in range(2)
    )
    split_kernel[(splits, blocks)](
        x,
        *upstream,
        None if pooled else dx,
        membranes,
        *statistics,
        dgammas,
        dbetas,
        *operands,
        *sizes,
        rows_each,
        *steps,
        rows,
        CHANNELS,
        enable_fp_fusion=False,
    )
    merge_kernel[(blocks,)](
        dgammas,
        dbetas,
        dgamma,
        dbeta,
        splits,
        features,
        MOST_SPLITS,
        CHANNELS,
        enable_fp_fusion=False,
    )
    if pooled:
        pooled_kernel[(triton.cdiv(batch, rows), blocks)](
            x,
            *upstream,
            dx,
            membranes,
            *statistics,
            dgamma,
            dbeta,
            *operands,
            *sizes,
            *steps,
            rows,
            CHANNELS,
            enable_fp_fusion=False,
        )
    return dx, dgamma.to(gamma.dtype), dbeta.to(beta.dtype)
