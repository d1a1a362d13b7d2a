"""Ordinary networks of linear maps and ReLUs as one native operator."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from snnrl.nn.structure import Structure
from snnrl.ops import native


class Perceptron(nn.Sequential):
    """Linear maps, with or without a ReLU behind each: ``nn.Sequential`` with other passes.

    On a CPU, in float32, all of them are one native operator, with the bits that torch computes, on
    the threads of :func:`snnrl.ops.native.use_threads`. Elsewhere, and where a module below has
    hooks, they are called one by one.
    """

    _structure: Structure | None = None

    @classmethod
    def of(cls, stack: nn.Module) -> Self | None:
        """Return the same modules as a perceptron; ``None`` if they are others."""
        if type(stack) is not nn.Sequential or not len(stack):
            return None
        modules = list(stack)
        for i, module in enumerate(modules):
            follows_map = i > 0 and type(modules[i - 1]) is nn.Linear
            if type(module) is not nn.Linear and not (type(module) is nn.ReLU and follows_map):
                return None
        return cls(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, N]`` of ``x[B, K]``."""
        if self._structure is None or not self._structure.is_current():
            self._structure = Structure(self)
            self._maps = self._find_maps()
        plain = self._structure.is_plain() and x.dim() == 2
        if not plain or x.device.type != "cpu" or x.dtype != torch.float32:
            outputs: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return outputs
        maps = [native.Map(linear.weight, linear.bias, relu) for linear, relu in self._maps]
        return native.perceptron(x, maps)

    def _find_maps(self) -> list[tuple[nn.Linear, bool]]:
        modules = list(self)
        behind = [*modules[1:], None]
        return [
            (module, isinstance(following, nn.ReLU))
            for module, following in zip(modules, behind, strict=True)
            if isinstance(module, nn.Linear)
        ]


def fuse_perceptrons(network: nn.Module) -> None:
    """Let each stack of linear maps and ReLUs below a network be one :class:`Perceptron`."""
    fused: dict[nn.Module, nn.Module] = {}
    for module in list(network.modules()):
        if (perceptron := Perceptron.of(module)) is not None:
            fused[module] = perceptron
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child in fused:
                setattr(parent, name, fused[child])
        # Stable-Baselines3's critics keep theirs in a list, too.
        for value in vars(parent).values():
            if isinstance(value, list):
                value[:] = [fused.get(x, x) if isinstance(x, nn.Module) else x for x in value]
