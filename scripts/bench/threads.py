"""Threads of each contestant, as a run would have them."""

from __future__ import annotations

import torch

from scripts.bench.timing import Call
from snnrl.ops import native

ALONE = "native, 1 thread"
"""The native kernel on one thread, beside the same on several."""


def on_its_threads(name: str, threads: int, call: Call) -> Call:
    """Return a call with the threads of its contestant: those of the native kernel share its
    operators' work, and torch has one; others have so many of torch's."""
    if not name.startswith("native"):

        def of_torch() -> object:
            torch.set_num_threads(threads)
            return call()

        return of_torch

    def of_operators() -> object:
        torch.set_num_threads(1)
        native.use_threads(1 if name == ALONE else threads)
        return call()

    return of_operators
