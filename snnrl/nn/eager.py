"""Run a network without its compiled form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class Compilable(nn.Module):
    """A module whose forward pass can be compiled: ``kernel`` is ``naive`` or ``compile``."""

    kernel: str


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Inside, every :class:`Compilable` part of ``network`` runs the naive kernel.

    For passes in which layers are watched or behave differently: hooks are not part of compiled
    code, and each change of behaviour would be compiled anew.
    """
    parts = [module for module in network.modules() if isinstance(module, Compilable)]
    kernels = [part.kernel for part in parts]
    for part in parts:
        part.kernel = "naive"
    try:
        yield
    finally:
        for part, kernel in zip(parts, kernels, strict=True):
            part.kernel = kernel
