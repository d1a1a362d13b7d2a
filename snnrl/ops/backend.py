"""Choice of the operators' implementation: by name, without fallbacks."""

from __future__ import annotations

import torch

from snnrl.errors import UserError, expect
from snnrl.ops.native.library import compiler
from snnrl.ops.triton.requirements import check_device

KERNELS = ("auto", "naive", "compile", "native", "triton")

FUSED = ("native", "triton")

COMPILE_PAYS_FROM_STEPS = 20_000
"""Planned environment steps from which ``auto`` compiles neurons without a fused operator: below
it, compiling takes more time than it saves (about half a minute without a cache)."""


def resolve_kernel(
    kernel: str,
    device: str = "cpu",
    planned_steps: int | None = None,
    has_fused: bool = True,
) -> str:
    """Return the name of the kernel that runs.

    ``naive``: eager torch, the specification. ``compile``: ``torch.compile`` of the same.
    ``native``: fused C++ operators on a CPU. ``triton``: fused operators on a CUDA device.

    ``auto`` is ``triton`` on CUDA and ``native`` on a CPU. Neurons without a fused operator are
    compiled if at least :data:`COMPILE_PAYS_FROM_STEPS` are planned, and naive otherwise; so is
    everything on a CPU without a C++ compiler. The choice never depends on timings or caches, so
    that the same configuration computes the same thing.

    :param kernel: a name of :data:`KERNELS`
    :param device: torch's name of the device
    :param planned_steps: planned environment steps, if known
    :param has_fused: whether the fused operators support the neuron, its surrogate and its
        normalisation
    :raises UserError: unknown name, or a kernel that cannot run here: ``native`` or ``compile``
        without a C++ compiler, a fused kernel on another device than its own or for a neuron that
        has none
    """
    expect("kernel", kernel, KERNELS)
    on_cuda = torch.device(device).type == "cuda"
    if kernel == "auto":
        if has_fused and on_cuda:
            return resolve_kernel("triton", device)
        if not on_cuda and compiler() is None:
            return "naive"
        if has_fused:
            return "native"
        worth_it = planned_steps is not None and planned_steps >= COMPILE_PAYS_FROM_STEPS
        return "compile" if worth_it else "naive"
    if kernel in FUSED and not has_fused:
        raise UserError(
            f"kernel={kernel}: has no operator for this neuron, surrogate or normalisation; "
            "expected kernel=compile or naive"
        )
    if kernel == "triton":
        check_device(torch.device(device))
    if kernel == "native" and on_cuda:
        raise UserError(f"kernel=native: runs on a CPU, not on {device}; expected kernel=triton")
    if kernel in ("compile", "native") and not on_cuda and compiler() is None:
        raise UserError(
            f"kernel={kernel}: needs a C++ compiler (g++ or clang++ on the PATH); "
            "install one or use kernel=naive"
        )
    return kernel
