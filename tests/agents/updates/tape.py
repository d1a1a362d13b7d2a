"""A CUDA graph on a CPU: operators are written down with the tensors they used, and done again.

What Python computes while a step is captured is not done again, as on a GPU: a number that changes,
a tensor that is re-assigned or a wait for a value would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero")


class WaitsForTheDevice(Exception):
    """A value on the device was asked for during capture."""


class Tape(TorchDispatchMode):
    """Inside, operators are written down; :meth:`undo` takes back what they changed."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in READS:
            raise WaitsForTheDevice(func._schema.name)
        for tensor in _written(func, args, kwargs):
            self._before.append((tensor, tensor.detach().clone()))
        results = func(*args, **kwargs)
        if not _is_view(func):
            self._calls.append((func, args, kwargs, results))
        return results

    def names(self) -> list[str]:
        """Return the operators in their order."""
        return [func._schema.name for func, *_ in self._calls]

    @torch.no_grad()
    def undo(self) -> None:
        for tensor, before in reversed(self._before):
            tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, results in self._calls:
            new = func(*args, **kwargs)
            for old, value in zip(tree_leaves(results), tree_leaves(new), strict=True):
                if isinstance(old, Tensor) and old is not value:
                    old.copy_(value)


class TapeRecorder:
    """Captures on a tape; ``events`` are what was asked: ``run``, ``capture``, ``replay``."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.tapes: list[Tape] = []

    def run(self, work: Callable[[], None]) -> None:
        self.events.append("run")
        work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.events.append("capture")
        generator = torch.get_rng_state()
        with Tape() as tape:
            work()
        tape.undo()
        self.tapes.append(tape)
        torch.set_rng_state(generator)

        def replay() -> None:
            self.events.append("replay")
            tape.replay()

        return replay

    def keep(self, value: Tensor) -> Tensor:
        return value.clone()

    def fresh(self) -> TapeRecorder:
        return TapeRecorder()


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
