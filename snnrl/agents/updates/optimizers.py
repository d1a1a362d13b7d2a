"""Fused Adam, ready to be captured in a CUDA graph; learning rates of single parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from snnrl.errors import UserError

HOW = ("fused", "foreach", "capturable")
"""Options of Adam that select an implementation and change no result but rounding."""

OWN_RATE = "own_learning_rate"
"""Key of the groups whose learning rate is not that of the weights; its value is their rate."""


def separate_rates(optimizer: Optimizer, rates: Mapping[nn.Parameter, float]) -> None:
    """Put parameters that have a learning rate of their own into groups of their own.

    Such a rate is constant. Other options of the groups are those that the parameters had. Without
    such parameters the optimiser stays as it is.

    :param optimizer: before its first step
    :param rates: learning rates by parameter, also of parameters of other optimisers
    """
    for group in [group for group in optimizer.param_groups if OWN_RATE not in group]:
        own: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            if parameter in rates:
                own.setdefault(rates[parameter], []).append(parameter)
        if own:
            group["params"] = [p for p in group["params"] if p not in rates]
        for rate, parameters in own.items():
            optimizer.add_param_group({**group, "params": parameters, "lr": rate, OWN_RATE: rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


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
    """Set the learning rate of all weights; in place where it is a tensor.

    Parameters that :func:`separate_rates` has separated keep their own.
    """
    for group in optimizer.param_groups:
        value = group.get(OWN_RATE, rate)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def _restore_implementation(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    own_groups, saved_groups = optimizer.param_groups, state["param_groups"]
    if len(own_groups) != len(saved_groups):
        raise UserError(
            f"optimiser: has {len(own_groups)} groups of parameters and the loaded state "
            f"{len(saved_groups)}; expected an agent with the same learning rates of its own "
            "(neuron.learning_rate)"
        )
    groups = [_restored(own, saved) for own, saved in zip(own_groups, saved_groups, strict=True)]
    return {**state, "param_groups": groups}


def _restored(own: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    kept = {option: own[option] for option in (*HOW, OWN_RATE) if option in own}
    return {**saved, **kept, "lr": _like(own["lr"], saved["lr"])}


def _like(own: float | Tensor, saved: float | Tensor) -> float | Tensor:
    return torch.full_like(own, float(saved)) if isinstance(own, Tensor) else float(saved)
