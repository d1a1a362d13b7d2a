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

from snnrl.ops.dynamics import Dynamics
from snnrl.ops.triton.launch import membrane_scratch, tile_size
from snnrl.ops.triton.sweeps import gradient_sweep, spike_train


@triton.jit
def forward_kernel(x_ptr, spikes_ptr, plane, T: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """A block of neurons a program."""
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    spike_train(x_ptr, spikes_ptr, offsets, offsets < plane, plane, None, T, D)


@triton.jit
def backward_kernel(
    x_ptr,
    g_ptr,
    dx_ptr,
    membranes_ptr,
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
        x_ptr, g_ptr, dx_ptr, membranes_ptr, offsets, mask, plane, None, None, (zero, zero), T, D
    )


def neuron_forward(x: Tensor, dynamics: Dynamics) -> Tensor:
    """Spikes of currents ``x[T, B, ...]``, of its shape and dtype."""
    x = x.contiguous()
    time_steps = x.shape[0]
    spikes = torch.empty_like(x)
    plane, block = x[0].numel(), tile_size(time_steps)
    forward_kernel[(triton.cdiv(plane, block),)](
        x, spikes, plane, time_steps, dynamics, block, enable_fp_fusion=False
    )
    return spikes


def neuron_backward(g: Tensor, x: Tensor, dynamics: Dynamics) -> Tensor:
    """``dL/dx`` from ``g = dL/ds``, both of the shape of ``x[T, B, ...]``."""
    x, g = x.contiguous(), g.contiguous()
    time_steps = x.shape[0]
    dx = torch.empty_like(x)
    plane, block = x[0].numel(), tile_size(time_steps)
    backward_kernel[(triton.cdiv(plane, block),)](
        x,
        g,
        dx,
        membrane_scratch(x),
        plane,
        time_steps,
        dynamics,
        block,
        enable_fp_fusion=False,
    )
    return dx
