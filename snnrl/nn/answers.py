"""Check whether a method still describes a derived class."""

from __future__ import annotations

from functools import cache

from torch import nn


def answers(module: nn.Module, method: str, *described: str) -> bool:
    """Return whether ``method`` describes what ``module.forward`` computes.

    A class that overrides ``forward`` computes something different from its base class. The base's
    ``method``, such as a description for a fused operator, must then not be trusted.

    :param described: methods that ``forward`` is made of, which ``method`` describes too
    """
    return _answers(type(module), method, ("forward", *described))  # type: ignore[arg-type]


@cache
def _answers(cls: type[nn.Module], method: str, described: tuple[str, ...]) -> bool:
    if not hasattr(cls, method):
        return False

    def position(name: str) -> int:
        return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))

    return position(method) <= min(map(position, described))
