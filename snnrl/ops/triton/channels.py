# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Tiles of rows and channels of ``[rows, N]``, and what normalises each channel."""

import triton
import triton.language as tl


@triton.jit
def row_tile(first, end, columns, N, ROWS: tl.constexpr):
    """Offsets and mask of ``ROWS`` rows from ``first`` on, short of ``end``, and of ``columns``."""
    rows = first + tl.arange(0, ROWS)
    offsets = rows.to(tl.int64)[:, None] * N + columns[None, :]
    return offsets, (rows < end)[:, None] & (columns < N)[None, :]


@triton.jit
def affine_channel(mean, var, gamma_ptr, beta_ptr, eps, columns, N):
    """The ``channel`` of :mod:`snnrl.ops.triton.sweeps` from statistics ``[CHANNELS]``."""
    gamma = tl.load(gamma_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
    beta = tl.load(beta_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
    sd = tl.sqrt_rn(var + eps)
    return mean[None, :], sd[None, :], gamma[None, :], beta[None, :]


@triton.jit
def stored_channel(mean_ptr, var_ptr, gamma_ptr, beta_ptr, eps, columns, N):
    """The same from statistics in memory."""
    mean = tl.load(mean_ptr + columns, mask=columns < N, other=0.0).to(tl.float32)
    var = tl.load(var_ptr + columns, mask=columns < N, other=1.0).to(tl.float32)
    return affine_channel(mean, var, gamma_ptr, beta_ptr, eps, columns, N)
