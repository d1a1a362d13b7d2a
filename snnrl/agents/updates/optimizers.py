"""Fused Adam, ready to be captured in a CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

HOW = ("fused", "foreach", "capturable")
"""Options of Adam that select an implementation and change no result but rounding."""


def prepare_adam(optimizer: Optimizer, given: Mapping[str, Any], *, capturable: bool) -> None:
    """Make Adam and AdamW fused unless the user chose otherwise; other optimisers stay as they are.

    A state loaded later sets the moments and the learning rate, but does not change the
    implementation chosen here.

    :param optimizer: before its first step
    :param given: the user's ``optimizer_kwargs``
    :param capturable: prepare steps for a CUDA graph; the learning rate becomes a tensor on the
        weights' device
    """
    if not isinstance(optimizer, Adam | AdamW):
        return
    chosen = [option for option in (*HOW, "differentiable") if given.get(option) is not None]
    for group in optimizer.param_groups:
        if not chosen:
            group["fused"] = True
        if capturable and group["fused"]:
            group["capturable"] = True
        if capturable and group["capturable"]:
            group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
    keep_implementation(optimizer)


def keep_implementation(optimizer: Optimizer) -> None:
    """Keep the implementation of Adam or AdamW when a state is loaded later.

    Call it again for a copy of the optimiser, which has no hooks.
    """
    if not keeps_implementation(optimizer):
        optimizer.register_load_state_dict_pre_hook(_restore_implementation)


def keeps_implementation(optimizer: Optimizer) -> bool:
    """Return whether :func:`keep_implementation` was called on it."""
    return _restore_implementation in optimizer._optimizer_load_state_dict_pre_hooks.values()


def can_be_captured(optimizer: Optimizer) -> bool:
    """Return whether a CUDA graph can hold its steps: no value that changes is a Python number."""
    return all(
        group.get("capturable") and isinstance(group["lr"], Tensor)
        for group in optimizer.param_groups
    )


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all weights; in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _restore_implementation(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    groups = [
        {**saved, **{option: own[option] for option in HOW}, "lr": _like(own["lr"], saved["lr"])}
        for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=True)
    ]
    return {**state, "param_groups": groups}


def _like(own: float | Tensor, saved: float | Tensor) -> float | Tensor:
    return torch.full_like(own, float(saved)) if isinstance(own, Tensor) else float(saved)
