# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Mean and biased variance per channel, over all rows of a program or merged from parts."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.channels import row_tile
from snnrl.ops.triton.launch import CHANNELS, MOMENT_TILE, MOST_SPLITS, split_rows


@triton.jit
def moments(x_ptr, first, end, columns, N, ROWS: tl.constexpr):
    """Mean of rows ``first`` to ``end`` and the sum of squared distances from it, ``[CHANNELS]``.

    Two passes: the mean of squares less the square of the mean would cancel.
    """
    total = tl.zeros((ROWS, columns.shape[0]), tl.float32)
    for row in range(first, end, ROWS):
        offsets, mask = row_tile(row, end, columns, N, ROWS)
        total += tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(total, axis=0) / (end - first)
    squares = tl.zeros((ROWS, columns.shape[0]), tl.float32)
    for row in range(first, end, ROWS):
        offsets, mask = row_tile(row, end, columns, N, ROWS)
        x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
        distance = tl.where(mask, x - mean[None, :], 0.0)
        squares += distance * distance
    return mean, tl.sum(squares, axis=0)


@triton.jit
def split_kernel(
    x_ptr,
    means_ptr,
    squares_ptr,
    rows,
    rows_each,
    N,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Moments of one part of the rows of a block of channels, to ``[splits, N]``."""
    split = tl.program_id(0)
    columns = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    first = split * rows_each
    end = tl.minimum(first + rows_each, rows)
    mean, squares = moments(x_ptr, first, end, columns, N, ROWS)
    tl.store(means_ptr + split * N + columns, mean, mask=columns < N)
    tl.store(squares_ptr + split * N + columns, squares, mask=columns < N)


@triton.jit
def merge_kernel(
    means_ptr,
    squares_ptr,
    mean_ptr,
    var_ptr,
    rows,
    rows_each,
    splits,
    N,
    SPLITS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Mean and variance of all rows from the moments of the parts.

    ``mean = sum n_k mean_k / n``; ``n var = sum squares_k + sum n_k (mean_k - mean)^2``
    (Chan, Golub and LeVeque 1979).
    """
    columns = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    offsets, mask = row_tile(0, splits, columns, N, SPLITS)
    # Parts beyond the last have a negative count, and the mask leaves them out.
    count = tl.minimum(rows - tl.arange(0, SPLITS) * rows_each, rows_each).to(tl.float32)[:, None]
    means = tl.load(means_ptr + offsets, mask=mask, other=0.0)
    mean = tl.sum(means * count, axis=0) / rows
    distance = tl.where(mask, means - mean[None, :], 0.0)
    within = tl.sum(tl.load(squares_ptr + offsets, mask=mask, other=0.0), axis=0)
    var = (within + tl.sum(distance * distance * count, axis=0)) / rows
    tl.store(mean_ptr + columns, mean, mask=columns < N)
    tl.store(var_ptr + columns, var, mask=columns < N)


def split_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of a contiguous ``x[T, B, N]`` over (T, B), float32 ``[N]`` each."""
    features = x.shape[2]
    rows = x.shape[0] * x.shape[1]
    tile_rows = MOMENT_TILE // CHANNELS
    rows_each, splits = split_rows(rows, tile_rows)
    blocks = triton.cdiv(features, CHANNELS)
    means, squares = (
        torch.empty(splits, features, dtype=torch.float32, device=x.device) for _ in range(2)
    )
    mean, var = (torch.empty(features, dtype=torch.float32, device=x.device) for _ in range(2))
    split_kernel[(splits, blocks)](
        x,
        means,
        squares,
        rows,
        rows_each,
        features,
        tile_rows,
        CHANNELS,
        enable_fp_fusion=False,
    )
    merge_kernel[(blocks,)](
        means,
        squares,
        mean,
        var,
        rows,
        rows_each,
        splits,
        features,
        MOST_SPLITS,
        CHANNELS,
        enable_fp_fusion=False,
    )
    return mean, var
