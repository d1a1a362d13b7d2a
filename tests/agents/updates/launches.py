"""What a device would launch, counted on a CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

FREE = ("empty", "new_empty", "empty_like", "empty_strided", "_unsafe_view", "resize_")
"""Operators that only reserve memory or name it anew, beside the views."""

KERNELS = {"aten::mse_loss": 2, "aten::slice_backward": 2, "aten::select_backward": 2}
"""Operators of torch that launch more than one kernel: a reduction after the elementwise part, a
copy into zeros."""


class Launches(TorchDispatchMode):
    """Inside, operators are counted by name; ``total`` are the kernels that a GPU would launch.

    Counted: every operator that reaches the dispatcher below autograd and is no view, no allocation
    and no mark of the profiler, forward and backward, once each or as :data:`KERNELS` says. An
    operator ``snnrl::triton_*`` is one: that holds up to ``LARGEST_OWNED`` rows (T * B), as at the
    published sizes. Lists of tensors (``_foreach``, fused Adam) are one: that holds for some 30
    small tensors.

    Not seen, because only a device decides it: matrix products that split their sum or add the bias
    by a kernel of their own, copies that an operator makes of strided inputs, and fills of scratch
    memory. An H200 launched 109 and 281 kernels in critic-only and whole steps of which 86 and 249
    are counted. Nothing here says how long a launch takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return sum(self.by_name.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if not _is_free(func, name):
            self.by_name[name] += KERNELS.get(name, 1)
        return func(*args, **(kwargs or {}))


def _is_free(func: Any, name: str) -> bool:
    space, _, short = name.partition("::")
    if space == "profiler" or (space == "aten" and short in FREE):
        return True
    returns = func._schema.returns
    return any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
