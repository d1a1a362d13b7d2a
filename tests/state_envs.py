"""Environments with states that are easily lost; processes register them by this module."""

from __future__ import annotations

from typing import Any

import gymnasium

from tests.env.test_state_graph import BackReference, SamplesSpaces, Shift
from tests.envs import Follow


class Earns(BackReference):
    """Keeps nothing from one episode to the next: evaluations do not hang on earlier ones."""

    def reset(self, **kwargs: Any) -> Any:
        self.money = 0.0
        return super().reset(**kwargs)


class Shifted(Shift):
    """A wrapper that sees what is below it, and counts within an episode."""

    def __init__(self) -> None:
        super().__init__(Earns())

    def reset(self, **kwargs: Any) -> Any:
        self.counted = 0
        return self.env.reset(**kwargs)


class Hides(Follow):
    """Cannot be pickled in the second half of its life."""

    total = 0

    def step(self, action: Any) -> Any:
        self.total += 1
        if self.total == 50:
            self.log = (number for number in range(3))
        return super().step(action)


for name, env in {"Shifted-v0": Shifted, "Samples-v0": SamplesSpaces, "Hides-v0": Hides}.items():
    if name not in gymnasium.registry:
        gymnasium.register(name, env)
