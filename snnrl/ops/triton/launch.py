"""Sizes of tiles and scratch: functions of shapes alone, so that a shape always sums in one order.

No autotuning: it would choose another order of summation from run to run, and capturing a CUDA
graph allows none.
"""

from __future__ import annotations

import torch
from torch import Tensor

Operands = tuple[Tensor, Tensor]
"""Threshold and scale of the surrogate: float32 without dimensions, on the kernel's device."""

LONGEST_UNROLLED = 32
"""Time steps up to which a backward kernel keeps membranes in registers."""

CHANNELS = 32
"""Columns of a tile of rows and channels."""

MOMENT_TILE = 2048
"""Elements of a tile of a sum that keeps nothing but the sum."""

MOST_SPLITS = 64
"""Parts that rows are split into where a sum over them is merged from parts; a power of two."""


def tile_size(time_steps: int) -> int:
    """Return the neurons of a tile: fewer if each keeps many membranes in registers."""
    return 512 if time_steps <= 8 else 128


def split_rows(rows: int, tile_rows: int) -> tuple[int, int]:
    """Return the rows of each part and the number of parts, none empty, at most
    :data:`MOST_SPLITS`."""
    each = max(tile_rows, -(-rows // MOST_SPLITS))
    return each, -(-rows // each)


def membrane_scratch(x: Tensor) -> Tensor | None:
    """Return memory for the membranes of ``x[T, ...]`` if T is too long for registers."""
    if x.shape[0] <= LONGEST_UNROLLED:
        return None
    return torch.empty(x.shape, dtype=torch.float32, device=x.device)


def counts_of(x: Tensor, wanted: bool) -> Tensor:
    """Return memory for the sum over time of the spikes of ``x[T, ...]``; empty if not
    requested."""
    return x.new_empty(x.shape[1:] if wanted else 0)
