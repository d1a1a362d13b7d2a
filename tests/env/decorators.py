"""A decorator of a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps


def counting(function: Callable[[], float]) -> Callable[[], float]:
    """Add to what ``function`` gives how often it was asked."""
    calls = [0.0]

    @wraps(function)
    def counted() -> float:
        calls.append(_next(calls))
        return function() + calls[-1]

    return counted


def _next(calls: list[float]) -> float:
    return calls[-1] + 1
