"""Maximum length of an episode."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit


def time_limit(env: gymnasium.Env[Any, Any]) -> int | None:
    """Return the steps after which an episode is truncated; ``None`` if unknown.

    The limit comes from a :class:`TimeLimit` around the environment, its registration, or the
    frames of an Atari emulator. An environment may also end episodes without declaring a limit.
    """
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, TimeLimit):
            return int(layer._max_episode_steps)
        layer = layer.env
    spec = env.spec
    if spec is None:
        return None
    limit: int | None = spec.max_episode_steps or spec.kwargs.get("max_num_frames_per_episode")
    return limit
