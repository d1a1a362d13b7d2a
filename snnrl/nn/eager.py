"""Run a network without its compiled form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Inside, every part of ``network`` that has a ``kernel`` runs the naive one.

    For passes in which layers are watched or behave differently: hooks are not part of compiled
    code, and each change of behaviour would be compiled anew.
    """
    parts = [module for module in network.modules() if hasattr(module, "kernel")]
    kernels = [part.kernel for part in parts]
    for part in parts:
        part.kernel = "naive"  # type: ignore[assignment]
    try:
        yield
    finally:
        for part, kernel in zip(parts, kernels, strict=True):
            part.kernel = kernel
