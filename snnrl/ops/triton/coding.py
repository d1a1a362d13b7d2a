# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Population coding: the encoder's spikes from its drive, in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.sweeps import load

BLOCK = 512
"""Neurons a program."""


@triton.jit
def integrate(spikes_ptr, drive, offsets, mask, threshold, plane, T: tl.constexpr):
    """Write ``p = p + a``; ``s = 1{p > th}``; ``p = p - th s``; from ``p = 0``."""
    potential = tl.zeros(drive.shape, tl.float32)
    for _ in range(T):
        potential += drive
        spikes = (potential > threshold).to(tl.float32)
        potential -= spikes * threshold
        tl.store(spikes_ptr + offsets, spikes, mask=mask)
        offsets += plane


@triton.jit
def drive_gradient(g_ptr, offsets, mask, threshold, plane, last, T: tl.constexpr):
    """``dL/da`` from ``g[t] = dL/ds[t]``, straight through the threshold.

    ``lam[t]``, the adjoint of p before the reset, has two ways on: p after it, by 1, and the
    spike, by 1, which has ``g[t]`` and takes ``th`` from p after it. Thus
    ``lam[t] = lam[t+1] + (g[t] - th lam[t+1])``. The drive is added at each step:
    ``dL/da = sum_t lam[t]``.

    :param last: offset of the last time step
    """
    at = offsets + last
    adjoint = tl.zeros(offsets.shape, tl.float32)
    total = tl.zeros(offsets.shape, tl.float32)
    for _ in range(T):
        g = load(g_ptr, at, mask)
        adjoint = adjoint + (g - adjoint * threshold)
        total += adjoint
        at -= plane
    return total


@triton.jit
def encode_kernel(drive_ptr, spikes_ptr, threshold, plane, T: tl.constexpr, BLOCK: tl.constexpr):
    """Spikes of a drive, see :func:`integrate`."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < plane
    drive = load(drive_ptr, offsets, mask)
    integrate(spikes_ptr, drive, offsets, mask, threshold, plane, T)


@triton.jit
def encode_backward_kernel(
    g_ptr, ddrive_ptr, threshold, plane, last, T: tl.constexpr, BLOCK: tl.constexpr
):
    """Gradient of a drive, see :func:`drive_gradient`."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < plane
    total = drive_gradient(g_ptr, offsets, mask, threshold, plane, last, T)
    tl.store(ddrive_ptr + offsets, total, mask=mask)


def encode_forward(drive: Tensor, time_steps: int, threshold: float) -> Tensor:
    """Spikes ``[T, B, M]`` of the drive ``[B, M]``, of its dtype."""
    drive = drive.contiguous()
    spikes = drive.new_empty(time_steps, *drive.shape)
    encode_kernel[_grid(drive)](
        drive, spikes, threshold, drive.numel(), time_steps, BLOCK, enable_fp_fusion=False
    )
    return spikes


def encode_backward(g: Tensor, threshold: float) -> Tensor:
    """``dL/d drive[B, M]`` from ``g[T, B, M]``."""
    g = g.contiguous()
    ddrive = torch.empty_like(g[0])
    plane, time_steps = ddrive.numel(), g.shape[0]
    encode_backward_kernel[_grid(ddrive)](
        g,
        ddrive,
        threshold,
        plane,
        plane * (time_steps - 1),
        time_steps,
        BLOCK,
        enable_fp_fusion=False,
    )
    return ddrive


def _grid(plane: Tensor) -> tuple[int]:
    return (triton.cdiv(plane.numel(), BLOCK),)
