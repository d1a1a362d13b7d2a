"""How exactly a CUDA device computes in single precision."""

from __future__ import annotations

import torch


def disable_tf32() -> None:
    """Compute convolutions and matrix products alike, with all 24 bits of a float32.

    Torch does so for matrix products, and lets cuDNN's convolutions round their inputs to the 11
    bits of TF32. A membrane near the threshold then falls to the other side.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
