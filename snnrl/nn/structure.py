"""Modules of a network, with the hooks and replacements that a fused pass would skip."""

from __future__ import annotations

from operator import methodcaller
from typing import Any

import torch
from torch import nn

_has_forward = methodcaller("__contains__", "forward")

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Structure:
    """The current modules below networks: collected once, compared before each use.

    Comparing takes a few microseconds, as torch keeps children and hooks in dictionaries that stay
    the same objects. Copies and pickles of it are ``None``: they would belong to other modules.

    :param networks: their modules and all below them are meant, for hooks only those below
    """

    def __init__(self, *networks: nn.Module):
        self.modules = list(dict.fromkeys(m for network in networks for m in network.modules()))
        children: list[dict[str, Any]] = [module._modules for module in self.modules]
        self._parents = [found for found in children if found]
        self._leaves = [found for found in children if not found]
        self._children = _values(self._parents)
        below = [
            (name, module)
            for network in networks
            for name, module in network.named_modules()
            if module is not network
        ]
        self._attributes = [(name, vars(module)) for name, module in below]
        self._own = [own for _, own in self._attributes]
        self._hooks = [own[kind] for _, own in self._attributes for kind in HOOKS]
        self._hooks += [getattr(torch.nn.modules.module, f"_global{kind}") for kind in HOOKS]

    def is_current(self) -> bool:
        """Return whether no module was added, removed or replaced since."""
        return not any(self._leaves) and _values(self._parents) == self._children

    def is_plain(self) -> bool:
        """Return whether calling a module below only runs its class's ``forward``."""
        return not any(self._hooks) and not any(map(_has_forward, self._own))

    def why_not_plain(self) -> str:
        """Return the first module that does more, and why."""
        for name, own in self._attributes:
            if "forward" in own:
                return f"{name} has a forward of its own"
            if kind := next((kind for kind in HOOKS if own[kind]), None):
                return f"{name} has a {_words(kind)}"
        return "torch has hooks for all modules"

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()


def _values(dictionaries: list[dict[str, Any]]) -> list[list[Any]]:
    return list(map(list, map(dict.values, dictionaries)))


def _words(kind: str) -> str:
    """``_forward_pre_hooks`` -> ``forward pre-hook``."""
    return kind.strip("_").removesuffix("s").replace("_pre_", " pre-").replace("_", " ")
