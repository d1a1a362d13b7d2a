"""Requirements of the kernels on the machine and on tensors."""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from snnrl.errors import UserError

HAS_TRITON = find_spec("triton") is not None

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check_device(device: torch.device) -> None:
    """Check that Triton's kernels can run on ``device``.

    :raises UserError: it is no CUDA device, or there is no Triton, or none of the C compilers that
        it builds its launcher with
    """
    if device.type != "cuda":
        raise UserError(
            "kernel=triton: needs a CUDA device; expected kernel=native, compile or naive on a CPU"
        )
    if not HAS_TRITON:
        raise UserError(
            "kernel=triton: the package triton is not installed; install it, or use "
            "kernel=compile or naive"
        )
    if not has_c_compiler():
        raise UserError(
            "kernel=triton: needs a C compiler (gcc or clang on the PATH, or CC); install one or "
            "use kernel=naive"
        )


@cache
def has_c_compiler() -> bool:
    """Return whether Triton finds a C compiler. Cached, because operators ask at each call."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def check_input(x: Tensor) -> None:
    """Check that the kernels can compute with ``x``.

    :raises UserError: :func:`check_device` refuses its device, or it is more exact than their state
    """
    check_device(x.device)
    if x.dtype not in DTYPES:
        raise UserError(
            f"kernel=triton: its state is float32, too short for {x.dtype}; expected float32, "
            "bfloat16 or float16"
        )
