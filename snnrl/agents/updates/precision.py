"""Precision of float32 arithmetic on CUDA."""

from __future__ import annotations

import torch


def disable_tf32() -> None:
    """Compute matrix products and convolutions with all 24 bits of a float32.

    By default torch lets cuDNN's convolutions round their inputs to the 11 bits of TF32. A membrane
    potential near the threshold then falls to the other side.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
