"""Modules whose buffers change while a network learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Adaptive(nn.Module):
    """A module whose buffers change only in a pass that learns.

    That is a pass in training mode, with gradients, outside of :func:`frozen`. In every other pass
    the module is a function of its inputs alone.
    """

    frozen = False

    def learns(self) -> bool:
        """Return whether a pass now would change the buffers."""
        return self.training and not self.frozen and torch.is_grad_enabled()

    def followed(self) -> list[Tensor]:
        """Return the buffers that the module of a target network follows, always in one order."""
        return []


def adaptive_modules(network: nn.Module) -> list[Adaptive]:
    """Return the adaptive modules of ``network``, in the order of their definition."""
    return [module for module in network.modules() if isinstance(module, Adaptive)]


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Freeze the adaptive modules of ``network`` while gradients flow; modes stay unchanged."""
    modules = [module for module in adaptive_modules(network) if not module.frozen]
    for module in modules:
        module.frozen = True
    try:
        yield
    finally:
        for module in modules:
            module.frozen = False


def followed_pairs(online: nn.Module, target: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each buffer of ``online`` that a target follows, with that of ``target``."""
    for ours, theirs in zip(adaptive_modules(online), adaptive_modules(target), strict=True):
        yield from zip(ours.followed(), theirs.followed(), strict=True)
