"""Kernels of torch on CUDA that compute the same bits each time: ``deterministic=true``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig
from torch.backends import cudnn

from snnrl.experiment.config.check_repeatable import REPEATABLE, WORKSPACE
from snnrl.experiment.config.validate import asks_for_repeatable


@contextmanager
def repeatable_kernels(cfg: DictConfig) -> Iterator[None]:
    """Context of a run in which torch uses repeatable kernels on CUDA, if the run asks for them.

    An operator that has none raises an error. Torch would also fill all new memory, so that what
    was never written is the same each time. Here everything is written before it is read, and
    filling would be a launch for each tensor.

    :param cfg: a configuration that was validated
    """
    if not asks_for_repeatable(cfg):
        yield
        return
    # Torch's stubs know no settings of this module.
    deterministic: Any = torch.utils.deterministic
    # A process reads it once: it stays.
    os.environ.setdefault(WORKSPACE, REPEATABLE[0])
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        deterministic.fill_uninitialized_memory,
        cudnn.deterministic,
        cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = before[2]
        cudnn.deterministic, cudnn.benchmark = before[3:]
