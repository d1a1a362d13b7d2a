"""CPU threads of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from snnrl.errors import UserError

MOST = 8
"""Threads of the default: a minibatch has work for no more."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""What a container may use: microseconds of CPU in a period of so many."""


def cores() -> int:
    """Return the number of CPU cores available to this process."""
    known = hasattr(os, "sched_getaffinity")
    found = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    try:
        used, period = QUOTA.read_text().split()
        return found if used == "max" else max(1, min(found, round(int(used) / int(period))))
    except (OSError, ValueError):
        return found


def threads_of_job(cfg: DictConfig) -> int:
    """Return the threads of a run among several at a time: one unless ``threads`` says more."""
    return int(cfg.threads or 1)


def use_threads(cfg: DictConfig, kernel: str, most: int | None = None) -> int:
    """Set the number of CPU threads that a run uses; return it.

    With the kernel ``native`` they share the work of the operators, and torch's own operators have
    one: results are the same bits for every number. With other kernels they are torch's, which may
    round differently for another number.

    ``threads=null`` is every core for ``native``, but at most :data:`MOST`, or ``OMP_NUM_THREADS``
    where it is set, as it is for each run of a sweep that does several at a time. For other kernels
    it is one.

    :param kernel: the one that computes the networks
    :param most: not to be exceeded
    """
    import torch

    from snnrl.ops import native

    shares = kernel == "native"
    number = int(cfg.threads or (_usual() if shares else 1))
    number = min(number, most or number)
    torch.set_num_threads(1 if shares else number)
    if shares:
        native.use_threads(number)
    return number


def check_resumed(facts: Mapping[str, Any], kernel: str, threads: int, folder: Path) -> None:
    """Check that a run goes on with the threads on which its results depend.

    :param facts: of its last start
    :raises UserError: another number than before, with a kernel whose rounding depends on it
    """
    before = facts.get("threads")
    if kernel != "native" and facts.get("kernel") == kernel and before not in (None, threads):
        raise UserError(
            f"threads={threads}: {folder} began with {before}, and kernel={kernel} may round "
            f"differently; expected threads={before}"
        )


def _usual() -> int:
    # OpenMP's own form: a number for each level of nesting.
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    wanted = int(given) if given.isdecimal() and int(given) else MOST
    return min(wanted, cores())
