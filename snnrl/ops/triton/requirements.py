"""What these kernels need of a machine and of a tensor, checked in one place."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from snnrl.errors import UserError

HAS_TRITON = find_spec("triton") is not None

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def check_device(device: torch.device) -> None:
    """Check that Triton's kernels can run on ``device``.

    :raises UserError: it is no CUDA device, or Triton is not installed
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
