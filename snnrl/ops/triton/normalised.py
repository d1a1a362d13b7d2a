# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Normalisation and neuron in one: ``y = (x - mean) / sqrt(var + eps) gamma + beta``, then spikes.

Neither y nor the membranes are ever in memory. Statistics are per channel over (T, B) and the
neuron works on each element alone, so that a program which owns a block of channels needs neither
atomics nor a synchronised grid. Of large batches (:data:`LARGEST_OWNED`) it would own too much:
there the rows are split, at places fixed by the shape, and the parts merged in a fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.channels import affine_channel, row_tile, stored_channel
from snnrl.ops.triton.launch import CHANNELS, MOMENT_TILE, Operands, counts_of, tile_size
from snnrl.ops.triton.moments import moments, split_moments
from snnrl.ops.triton.program import Program
from snnrl.ops.triton.sweeps import load_operands, spike_train

LARGEST_OWNED = 4096
"""Rows T * B up to which one program owns all rows of its channels."""

OWNED_CHANNELS = 8
"""Channels that such a program owns: few, so that there are many programs."""

OWNED_WARPS = 8
"""Warps of such a program, twice the usual: its tiles have twice the elements."""


@triton.jit
def owned_forward_kernel(
    x_ptr,
    spikes_ptr,
    counts_ptr,
    mean_ptr,
    var_ptr,
    gamma_ptr,
    beta_ptr,
    threshold_ptr,
    scale_ptr,
    eps,
    B,
    N,
    plane,
    T: tl.constexpr,
    D: tl.constexpr,
    MOMENT_ROWS: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Statistics, affine map and neuron of a block of channels, in one program."""
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    mean, squares = moments(x_ptr, 0, T * B, columns, N, MOMENT_ROWS)
    var = squares / (T * B)
    tl.store(mean_ptr + columns, mean, mask=columns < N)
    tl.store(var_ptr + columns, var, mask=columns < N)
    channel = affine_channel(mean, var, gamma_ptr, beta_ptr, eps, columns, N)
    operands = load_operands(threshold_ptr, scale_ptr)
    for row in range(0, B, ROWS):
        offsets, mask = row_tile(row, B, columns, N, ROWS)
        spike_train(x_ptr, spikes_ptr, counts_ptr, offsets, mask, plane, channel, operands, T, D)


@triton.jit
def given_forward_kernel(
    x_ptr,
    spikes_ptr,
    counts_ptr,
    mean_ptr,
    var_ptr,
    gamma_ptr,
    beta_ptr,
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
    """Affine map and neuron of a tile, with statistics in memory."""
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    offsets, mask = row_tile(tl.program_id(0) * ROWS, B, columns, N, ROWS)
    channel = stored_channel(mean_ptr, var_ptr, gamma_ptr, beta_ptr, eps, columns, N)
    operands = load_operands(threshold_ptr, scale_ptr)
    spike_train(x_ptr, spikes_ptr, counts_ptr, offsets, mask, plane, channel, operands, T, D)


def normalised_forward(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    counts: bool,
    operands: Operands,
    program: Program,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes of ``x[T, B, N]`` with the batch's statistics, and these: float32 ``[N]`` each.

    :param counts: return the spikes' sum over time ``[B, N]`` too; otherwise an empty tensor
    """
    x = x.contiguous()
    time_steps, batch, features = x.shape
    if time_steps * batch > LARGEST_OWNED:
        mean, var = split_moments(x)
        spikes, counted = given_forward(x, mean, var, gamma, beta, eps, counts, operands, program)
        return spikes, mean, var, counted
    spikes, counted = torch.empty_like(x), counts_of(x, counts)
    mean, var = (torch.empty(features, dtype=torch.float32, device=x.device) for _ in range(2))
    owned_forward_kernel[(triton.cdiv(features, OWNED_CHANNELS),)](
        x,
        spikes,
        counted if counts else None,
        mean,
        var,
        gamma.contiguous(),
        beta.contiguous(),
        *operands,
        eps,
        batch,
        features,
        batch * features,
        time_steps,
        program,
        2 * MOMENT_TILE // OWNED_CHANNELS,
        2 * tile_size(time_steps) // OWNED_CHANNELS,
        OWNED_CHANNELS,
        num_warps=OWNED_WARPS,
        enable_fp_fusion=False,
    )
    return spikes, mean, var, counted


def given_forward(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor,
    beta: Tensor,
    eps: float,
    counts: bool,
    operands: Operands,
    program: Program,
) -> tuple[Tensor, Tensor]:
    """Spikes of ``x[T, B, N]`` with the statistics ``[N]`` that are given.

    :param counts: return the spikes' sum over time ``[B, N]`` too; otherwise an empty tensor
    """
    x = x.contiguous()
    time_steps, batch, features = x.shape
    spikes, counted = torch.empty_like(x), counts_of(x, counts)
    rows = tile_size(time_steps) // CHANNELS
    given_forward_kernel[(triton.cdiv(batch, rows), triton.cdiv(features, CHANNELS))](
        x,
        spikes,
        counted if counts else None,
        mean.contiguous(),
        var.contiguous(),
        gamma.contiguous(),
        beta.contiguous(),
        *operands,
        eps,
        batch,
        features,
        batch * features,
        time_steps,
        program,
        rows,
        CHANNELS,
        enable_fp_fusion=False,
    )
    return spikes, counted
