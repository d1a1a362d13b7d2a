"""Mistakes of environments in other processes, on their way to the process that learns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np

from snnrl.errors import UserError

_MISTAKE = "snnrl_mistake"


class Reporting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Outermost in a process of its own: an error would end the process, and only that would be
    known. A :class:`UserError` goes into ``info`` instead, for :func:`raise_mistake`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        try:
            return self.env.reset(seed=seed, options=options)
        except UserError as mistake:
            return self._nothing(), {_MISTAKE: str(mistake)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        try:
            return self.env.step(action)
        except UserError as mistake:
            return self._nothing(), 0.0, False, False, {_MISTAKE: str(mistake)}

    def _nothing(self) -> np.ndarray:
        space = self.observation_space
        return np.zeros(space.shape or (), space.dtype)


def raise_mistake(infos: Iterable[dict[str, Any] | None]) -> None:
    """Raise what a :class:`Reporting` environment has written into one of ``infos``.

    :raises UserError: there is one
    """
    for info in infos:
        if info and _MISTAKE in info:
            raise UserError(info[_MISTAKE])
