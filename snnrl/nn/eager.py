"""Run a network without its compiled or fused form."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager

from torch import nn


class Compilable(nn.Module):
    """A module whose forward pass may be compiled or fused, as ``kernel`` says."""

    kernel: str


@contextmanager
def eager(network: nn.Module, instead_of: Container[str] | None = None) -> Iterator[None]:
    """Context in which every :class:`Compilable` part of ``network`` runs the naive kernel.

    For passes in which layers are observed or behave differently. Hooks are not part of compiled or
    fused code, and each change of behaviour would be compiled again.

    :param instead_of: only the parts with one of these kernels; all if not given
    """
    parts = [
        module
        for module in network.modules()
        if isinstance(module, Compilable) and (instead_of is None or module.kernel in instead_of)
    ]
    kernels = [part.kernel for part in parts]
    for part in parts:
        part.kernel = "naive"
    try:
        yield
    finally:
        for part, kernel in zip(parts, kernels, strict=True):
            part.kernel = kernel
