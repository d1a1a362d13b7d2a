"""Which implementation of the operators runs: chosen by name, never by falling back."""

from __future__ import annotations

import shutil

from snnrl.errors import UserError, expect

KERNELS = ("auto", "naive", "compile")

COMPILE_PAYS_FROM_STEPS = 20_000
"""Planned environment steps from which ``auto`` compiles: below it, compiling costs more time
than it saves (about half a minute when nothing is cached)."""


def resolve_kernel(kernel: str, planned_steps: int | None = None) -> str:
    """Decide what runs: ``naive`` (eager torch) or ``compile`` (``torch.compile`` of the same).

    ``auto`` looks at the planned length and at whether this machine can compile, never at
    timings or caches, so that the same configuration computes the same thing.

    :param kernel: ``auto``, ``naive`` or ``compile``
    :param planned_steps: planned environment steps; ``None`` (no plan known) makes ``auto`` naive
    :raises UserError: unknown name, or ``compile`` on a machine that has no C++ compiler
    """
    expect("kernel", kernel, KERNELS)
    can_compile = bool(shutil.which("g++") or shutil.which("clang++"))
    if kernel == "auto":
        worth_it = planned_steps is not None and planned_steps >= COMPILE_PAYS_FROM_STEPS
        return "compile" if worth_it and can_compile else "naive"
    if kernel == "compile" and not can_compile:
        raise UserError(
            "kernel=compile: needs a C++ compiler (g++ or clang++ on the PATH); "
            "install one or use kernel=naive"
        )
    return kernel
