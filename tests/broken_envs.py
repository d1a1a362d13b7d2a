"""Environments that do not do what their spaces say; processes register them by this module."""

from __future__ import annotations

from typing import Any

import gymnasium

from tests.envs import Follow, MatchImage


class Says(Follow):
    """Hands out what it is told to: observations from the ``late``-th on, and rewards and ends.

    :param changes: ``observation``, ``reward``, ``terminated``, ``truncated`` -> what
    """

    def __init__(self, late: int = 0, changes: dict[str, Any] | None = None):
        super().__init__()
        self.late = late
        self.changes = changes or {}
        self.observations = 0

    def step(self, action: Any) -> Any:
        observation, *values, info = super().step(action)
        names = ("reward", "terminated", "truncated")
        given = [self.changes.get(name, value) for name, value in zip(names, values, strict=True)]
        return observation, *given, info

    def _observe(self) -> Any:
        observation = super()._observe()
        self.observations += 1
        is_late = self.observations > self.late
        return self.changes.get("observation", observation) if is_late else observation


class Bytes(MatchImage):
    """Images in a dtype of its own, times a factor."""

    def __init__(self, dtype: str, scale: float = 1):
        super().__init__()
        self.dtype, self.scale = dtype, scale

    def _observe(self) -> Any:
        return (super()._observe() * float(self.scale)).astype(self.dtype)


class Crashes(Follow):
    """Has a bug that its second step meets."""

    def step(self, action: Any) -> Any:
        result = super().step(action)
        if self.time == 2:
            raise ZeroDivisionError("my own bug")
        return result


def _register(name: str, env: type[gymnasium.Env[Any, Any]], **options: Any) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(name, env, disable_env_checker=True, kwargs=options)


_register("Says-v0", Says)
_register("Bytes-v0", Bytes)
_register("Crashes-v0", Crashes)
_register("SaysScalars-v0", Says, changes={"observation": 0.5})
_register("SaysScalarsLater-v0", Says, late=30, changes={"observation": 0.5})
