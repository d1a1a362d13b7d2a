"""Modules that change with the progress of training."""

from __future__ import annotations

from typing import ClassVar

from torch import nn


class Scheduled(nn.Module):
    """A module with a schedule over training.

    Agents call :meth:`set_progress` at the start of each ``train()``, on the networks that learn.
    Values that move belong in buffers, changed in place: fused operators, compiled code and
    captured gradient steps then read the present ones, and they are saved with the weights.
    """

    schedules: ClassVar[tuple[str, ...]] = ()
    """Parameters that, unless they are ``None``, spread a change over the whole of training: what
    is learned then depends on the number of steps."""

    def set_progress(self, remaining: float) -> None:
        """Take the progress of training.

        :param remaining: share of the steps that is left, from 1 at the start to 0 at the end, as
            Stable-Baselines3 counts it for learning rates
        """


def scheduled_modules(network: nn.Module) -> list[Scheduled]:
    """Return the modules of ``network`` that can have a schedule."""
    return [module for module in network.modules() if isinstance(module, Scheduled)]
