"""Ordinary networks of linear maps and ReLUs as one native operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnrl.nn.structure import Structure
from snnrl.ops import native


class Perceptron(nn.Sequential):
    """Linear maps, with or without a ReLU behind each: ``nn.Sequential`` with other passes.

    On a CPU, in float32, all of them are one native operator, with the bits that torch computes, on
    the threads of :func:`snnrl.ops.native.use_threads`; it has no second derivatives. Elsewhere,
    under autocast or compilation, and where there are other modules or hooks, modules are called
    one by one.
    """

    _structure: Structure | None = None
    _maps: list[tuple[nn.Linear, bool]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, N]`` of ``x[B, K]``."""
        if torch.compiler.is_compiling() or not self._is_fused(x):
            outputs: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return outputs
        assert self._maps is not None
        maps = [native.Map(linear.weight, linear.bias, relu) for linear, relu in self._maps]
        return native.perceptron(x, maps)

    def _is_fused(self, x: Tensor) -> bool:
        if self._structure is None or not self._structure.is_current():
            self._structure = Structure(self)
            self._maps = maps_of(self)
        if self._maps is None or not self._structure.is_plain():
            return False
        # Not of a class of its own, such as a tensor without values.
        usual = type(x) is Tensor and x.dim() == 2 and x.device.type == "cpu"
        fits = x.shape[-1:] == (self._maps[0][0].in_features,)
        precise = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return usual and fits and precise


def maps_of(stack: nn.Sequential) -> list[tuple[nn.Linear, bool]] | None:
    """Return the linear maps, and whether a ReLU follows each; ``None``: there are other modules,
    or widths that do not fit."""
    maps: list[tuple[nn.Linear, bool]] = []
    for module in stack:
        if type(module) is nn.Linear:
            if maps and maps[-1][0].out_features != module.in_features:
                return None
            maps.append((module, False))
        elif type(module) is nn.ReLU and maps and not maps[-1][1]:
            maps[-1] = (maps[-1][0], True)
        else:
            return None
    return maps or None


def fuse_perceptrons(network: nn.Module) -> None:
    """Let each stack of linear maps and ReLUs below a network be a :class:`Perceptron`."""
    for module in network.modules():
        if type(module) is nn.Sequential and maps_of(module) is not None:
            # In its place: its names, hooks and owners stay what they are.
            module.__class__ = Perceptron
