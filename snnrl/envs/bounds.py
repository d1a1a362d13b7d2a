"""Spaces that are missing, or that no agent can act in or observe."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def missing_space(env: Any) -> str | None:
    """Return which space an environment lacks.

    :return: ``None`` if it has both
    """
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if not isinstance(space, spaces.Space):
            return f"its {name} is {space}; expected a gymnasium space"
    return None


def action_problem(space: spaces.Box) -> str | None:
    """Return what prevents actions in [-1, 1] from being scaled to the bounds of a space.

    :return: ``None`` if nothing does
    """
    if not (np.isfinite(space.low) & np.isfinite(space.high)).all():
        return "its actions have no bounds; expected an environment whose action space is finite"
    with np.errstate(over="ignore"):
        width = space.high - space.low
    for index in np.ndindex(space.shape):
        place = f"action_space.low{list(index)}={space.low[index]:g} and high={space.high[index]:g}"
        if not width[index] > 0:
            return f"{place}; expected low below high, or an action space without that number"
        if not np.isfinite(width[index]):
            return f"{place} are too far apart for {space.dtype}; expected narrower bounds"
    return None


def observation_problem(space: spaces.Box) -> str | None:
    """Return what prevents a network from reading the observations of a space.

    :return: ``None`` if nothing does
    """
    if 0 in space.shape:
        return f"observes shape {space.shape}, which holds no number; expected at least one"
    # Vectors of bytes are scaled by their bounds.
    is_bytes = space.dtype == np.uint8 and len(space.shape) == 1
    if is_bytes and space.low.min() == space.high.max():
        return f"observes bytes whose bounds are all {space.low.min()}; expected low below high"
    return None
