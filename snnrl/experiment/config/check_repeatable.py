"""Check that torch can have repeatable kernels on CUDA: ``deterministic=true``."""

from __future__ import annotations

import os

import torch
from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config.choices import normalisations

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Variable of the environment from which cuBLAS takes the sizes of its workspaces."""

REPEATABLE = (":4096:8", ":16:8")
"""Its values with which cuBLAS repeats its sums; the first is the quicker one."""

SUMS_OVER_STEPS = ("tab",)
"""Normalisations with running sums over steps, for which CUDA has no repeatable kernel."""


def check_repeatable(cfg: DictConfig) -> None:
    """Check a run on CUDA that asks for repeatable kernels.

    :raises UserError: a normalisation has none, another size of cuBLAS's workspaces is set, or this
        process has used CUDA before without one
    """
    for key, bn in normalisations(cfg).items():
        if bn.name in SUMS_OVER_STEPS:
            raise UserError(
                f"deterministic=true: torch has no repeatable kernel on CUDA for {key}={bn.name}; "
                f"expected {key}=bntt, or deterministic=false"
            )
    given = os.environ.get(WORKSPACE)
    if given is not None and given not in REPEATABLE:
        raise UserError(
            f"deterministic=true: {WORKSPACE}={given} lets cuBLAS round differently each time; "
            f"expected {WORKSPACE}={REPEATABLE[0]}, or unset"
        )
    if given is None and torch.cuda.is_initialized():
        raise UserError(
            f"deterministic=true: this process has used CUDA before without {WORKSPACE}; expected "
            f"{WORKSPACE}={REPEATABLE[0]} in the environment"
        )
