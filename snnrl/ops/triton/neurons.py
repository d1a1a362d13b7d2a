# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found"
# mypy: disable-error-code="import-untyped, misc"
"""Neurons over all time steps: a kernel forward, a kernel backward, nothing saved but ``x``.

20 bytes an element-step in float32: x in and s out, then x and dL/ds in and dx out. x lies in
memory already, so computing the membranes again costs fewer bytes than keeping them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from snnrl.ops.triton.launch import Operands, counts_of, membrane_scratch, tile_size
from snnrl.ops.triton.program import Program
from snnrl.ops.triton.sweeps import gradient_sweep, load_operands, spike_train


@triton.jit
def forward_kernel(
    x_ptr,
    spikes_ptr,
    counts_ptr,
    threshold_ptr,
    scale_ptr,
    plane,
    T: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of neurons a program."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    operands = load_operands(threshold_ptr, scale_ptr)
    spike_train(
        x_ptr, spikes_ptr, counts_ptr, offsets, offsets < plane, plane, None, operands, T, D
    )


@triton.jit
def backward_kernel(
    x_ptr,
    g_ptr,
    g_counts_ptr,
    dx_ptr,
    membranes_ptr,
    threshold_ptr,
    scale_ptr,
    plane,
    T: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A block of neurons a program."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < plane
    zero = tl.zeros((BLOCK,), tl.float32)
    gradient_sweep(
        x_ptr,
        g_ptr,
        g_counts_ptr,
        dx_ptr,
        membranes_ptr,
        offsets,
        mask,
        plane,
        None,
        None,
        (zero, zero),
        load_operands(threshold_ptr, scale_ptr),
        T,
        D,
    )


def neuron_forward(
    x: Tensor, counts: bool, operands: Operands, program: Program
) -> tuple[Tensor, Tensor]:
    """Spikes of currents ``x[T, B, ...]``, of its shape and dtype.

    :param counts: return their sum over time ``[B, ...]`` too; otherwise an empty tensor
    """
    x = x.contiguous()
    time_steps = x.shape[0]
    spikes, counted = torch.empty_like(x), counts_of(x, counts)
    plane, block = x[0].numel(), tile_size(time_steps)
    forward_kernel[(triton.cdiv(plane, block),)](
        x,
        spikes,
        counted if counts else None,
        *operands,
        plane,
        time_steps,
        program,
        block,
        enable_fp_fusion=False,
    )
    return spikes, counted


def neuron_backward(
    g: Tensor | None,
    g_counts: Tensor | None,
    x: Tensor,
    operands: Operands,
    program: Program,
) -> Tensor:
    """``dL/dx`` from ``g = dL/ds``, both of the shape of ``x[T, B, ...]``.

    :param g_counts: gradient of the spikes' sum over time; of the two one may be ``None``
    """
    x = x.contiguous()
    time_steps = x.shape[0]
    dx = torch.empty_like(x)
    plane, block = x[0].numel(), tile_size(time_steps)
    backward_kernel[(triton.cdiv(plane, block),)](
        x,
        None if g is None else g.contiguous(),
        None if g_counts is None else g_counts.contiguous(),
        dx,
        membrane_scratch(x),
        *operands,
        plane,
        time_steps,
        program,
        block,
        enable_fp_fusion=False,
    )
    return dx
