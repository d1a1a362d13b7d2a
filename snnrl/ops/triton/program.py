"""Functions that a kernel is compiled from: the step of a neuron and the derivative of a
surrogate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

from snnrl.ops.dynamics import CONSTANTS

DERIVATIVES = "snnrl.ops.surrogate.triton_derivative"


class Program(NamedTuple):
    """Parts of a :class:`snnrl.ops.dynamics.Dynamics` known when a kernel is compiled.

    :param step, step_back: of the neuron's ``triton_step.py``
    :param states: number of variables that one time step hands to the next, without the spikes
    :param constants: of the neuron
    :param has_reset: the reset has a gradient
    :param derivative: of the surrogate
    :param source: digest of the functions' sources
    """

    step: Callable[..., Any]
    step_back: Callable[..., Any]
    states: int
    constants: tuple[float, ...]
    has_reset: bool
    derivative: Callable[..., Any]
    source: str


@lru_cache(maxsize=64)
def program(
    neuron: str, surrogate: str, detach_reset: bool, constants: tuple[float, ...]
) -> Program:
    """Return the program of a neuron's folder and a surrogate."""
    steps = import_module(f"snnrl.ops.{neuron}.triton_step")
    own: tuple[float, ...] = CONSTANTS[neuron](*constants)
    derivative = getattr(import_module(DERIVATIVES), surrogate)
    return Program(
        steps.step,
        steps.step_back,
        steps.STATES,
        own,
        not detach_reset,
        derivative,
        _digest(steps.step, steps.step_back, derivative),
    )


def _digest(*functions: Any) -> str:
    # Triton keeps kernels on disk by the source of the kernel and the text of its arguments, and
    # the text of a function is its name. Interpreted functions have no key and are not kept.
    keys = [getattr(function, "cache_key", "") for function in functions]
    return hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
