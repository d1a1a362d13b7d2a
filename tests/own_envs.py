"""Environments as people write them at first: what is wrong with each is in its name."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from tests.envs import Follow

ONE = spaces.Box(-1, 1, (1,), np.float32)


class Raising(Follow):
    """Cannot be made."""

    def __init__(self) -> None:
        raise ValueError("no such track: monaco\n(tracks: spa, monza)")


class Exiting(Follow):
    """Ends the process when it is made."""

    def __init__(self) -> None:
        raise SystemExit("licence expired")


class Needy(Follow):
    """Takes arguments."""

    def __init__(self, track: str, laps: int = 1):
        super().__init__()


class NoSpaces(gymnasium.Env[Any, Any]):
    """Says nothing about itself."""

    def reset(self, **_: Any) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, False, True, {}


class NoActions(NoSpaces):
    observation_space = ONE


class TupleSpace(NoSpaces):
    observation_space = (3,)  # type: ignore[assignment]
    action_space = ONE


class Spaced(Follow):
    """Has the spaces it is given."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]):
        super().__init__()
        self.observation_space, self.action_space = observations, actions  # type: ignore[assignment]

    def _observe(self) -> Any:
        return np.zeros(self.observation_space.shape, self.observation_space.dtype)

    def step(self, action: Any) -> Any:
        self.time += 1
        return self._observe(), 0.0, False, self.time >= self.steps, {}


class CloseRaises(Follow):
    def close(self) -> None:
        raise RuntimeError("the simulator has gone")


class ResetRaises(Follow):
    def reset(self, **_: Any) -> Any:
        raise KeyError("start")


class OldReset(Follow):
    """As gym had it: an observation alone."""

    def reset(self, **options: Any) -> Any:
        return super().reset(**options)[0]


class NoSeed(Follow):
    """As gym had it: no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class StepRaises(Follow):
    def step(self, action: Any) -> Any:
        return self.observation / {}["mass"]


class OldStep(Follow):
    """As gym had it: four values."""

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, truncated, info


class FourValues(gymnasium.Wrapper[Any, Any, Any, Any]):
    """As gym had it, around an environment that is right."""

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, truncated, info


class StepsNothing(Follow):
    def step(self, action: Any) -> Any:
        pass


class NotAnEnv:
    """Is no environment at all."""


class OwnRandom(Follow):
    """Draws from a generator of its own kind."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.np_random = np.random.RandomState(seed)  # type: ignore[assignment]
        self.time = 0
        return self._observe(), {}


class PythonRandom(Follow):
    """Draws from Python's generator, under gymnasium's name."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.np_random = random.Random(seed)  # type: ignore[assignment]
        self.time = 0
        return self._observe(), {}

    def _observe(self) -> Any:
        draw = [self.np_random.uniform(-1, 1) for _ in range(2)]
        self.observation = np.array(draw, np.float32)
        return self.observation


class ReadOnlyRandom(Follow):
    """Its generator is a property without a setter."""

    _own = np.random.default_rng(0)

    @property  # type: ignore[override]
    def np_random(self) -> np.random.Generator:  # type: ignore[override]
        return self._own

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._own = np.random.default_rng(seed)
        self.time = 0
        return self._observe(), {}


class ReadOnlySpaces(Follow):
    """Its spaces are properties without a setter."""

    def __init__(self) -> None:
        self.steps = 8

    @property  # type: ignore[override]
    def observation_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-1, 1, (2,), np.float32)

    @property  # type: ignore[override]
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(-1, 1, (2,), np.float32)


class ReadOnlySpec(Follow):
    """Its spec is a property without a setter."""

    @property  # type: ignore[override]
    def spec(self) -> None:  # type: ignore[override]
        return None


class ReadOnlyMetadata(Follow):
    """What gymnasium asks of it are properties without a setter."""

    @property  # type: ignore[override]
    def metadata(self) -> dict[str, Any]:  # type: ignore[override]
        return {"render_modes": []}

    @property  # type: ignore[override]
    def render_mode(self) -> None:  # type: ignore[override]
        return None


def _register(name: str, env: Any, checked: bool = True, **options: Any) -> None:
    if f"Own/{name}-v0" not in gymnasium.registry:
        gymnasium.register(f"Own/{name}-v0", env, disable_env_checker=not checked, kwargs=options)


for _kind in [*globals().values()]:
    if isinstance(_kind, type) and _kind.__module__ == __name__ and _kind is not FourValues:
        _register(_kind.__name__, _kind)
        _register(f"{_kind.__name__}Unchecked", _kind, checked=False)


def _with_low(low: float, high: float) -> spaces.Box:
    """Bounds that gymnasium refuses to make."""
    space = spaces.Box(-1, 1, (1,), np.float32)
    space.low, space.high = np.full(1, low, np.float32), np.full(1, high, np.float32)
    return space


def _box(low: Any, high: Any, shape: tuple[int, ...] = (1,), dtype: Any = np.float32) -> spaces.Box:
    return spaces.Box(low, high, shape, dtype)


SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "Scalar": (_box(-1, 1, ()), ONE),
    "Empty": (_box(-1, 1, (0,)), ONE),
    "EmptyImage": (_box(0, 255, (1, 0, 8), np.uint8), spaces.Discrete(2)),
    "EqualBytes": (_box(7, 7, (3,), np.uint8), ONE),
    "NothingSeen": (spaces.Discrete(3), ONE),
    "EqualAction": (ONE, spaces.Box(np.float32([-1, 2]), np.float32([1, 2]))),
    "ReversedAction": (ONE, _with_low(1, -1)),
    "NanAction": (ONE, _with_low(np.nan, 1)),
    "InfiniteAction": (ONE, _box(-np.inf, np.inf)),
    "HalfInfiniteAction": (ONE, _box(-1, np.inf)),
    "HugeAction": (ONE, _box(-3e38, 3e38)),
    "ScalarAction": (ONE, _box(-1, 1, ())),
    "EmptyAction": (ONE, _box(-1, 1, (0,))),
    "IntegerAction": (ONE, _box(-1, 1, (1,), np.int64)),
    "MatrixAction": (ONE, _box(-1, 1, (2, 2))),
    "InfiniteSeen": (_box(-np.inf, np.inf, (3,)), ONE),
    "Double": (_box(-1, 1, (3,), np.float64), _box(-1, 1, (1,), np.float64)),
    "Half": (_box(-1, 1, (3,), np.float16), ONE),
    "Truth": (_box(0, 1, (3,), np.bool_), ONE),
    "Long": (_box(-(2**62), 2**62, (3,), np.int64), ONE),
}

for _name, _spaces in SPACES.items():
    _register(_name, Spaced, observations=_spaces[0], actions=_spaces[1])
