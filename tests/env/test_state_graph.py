"""What hangs together in an environment hangs together in the restored one.

Each environment here acts on something that plain pickling of its attributes would lose or copy.
"""

from __future__ import annotations

import random
import weakref
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils import EzPickle
from gymnasium.wrappers import (
    ClipAction,
    DelayObservation,
    FrameStackObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    StickyAction,
    TimeAwareObservation,
    TransformObservation,
    TransformReward,
)
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv

from snnrl.envs import Stateful, get_state, make_env, obstacle, set_state
from tests.env.decorators import counting
from tests.envs import Follow, Match

ZERO = np.zeros(2, np.float32)

Env = gymnasium.Env[Any, Any]


class Walk(Follow):
    """The reward is ``self.pay()``, which each case makes in its own way."""

    pay: Callable[[], float]

    def __init__(self) -> None:
        super().__init__(steps=50)
        self.money = 0.0

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(action)
        self.money += 1.0
        return observation, self.pay(), terminated, truncated, info

    def earn(self) -> float:
        return self.money


class Method(Walk):
    """Keeps a bound method of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = self.earn


class MethodOfAnotherName(Walk):
    """Keeps bound methods where the class has others, one of them private."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = self.__double
        self.earn = super().earn  # type: ignore[method-assign]

    def __double(self) -> float:
        return 2 * self.earn()


class Partial(Walk):
    """Keeps a partial of a bound method."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = partial(self.times, 3.0)

    def times(self, factor: float) -> float:
        return factor * self.money


class Lambda(Walk):
    """Keeps a function without a name, which sees the environment."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = lambda: self.money + float(self.np_random.random())


class SharedVariable(Walk):
    """Keeps two functions that share a variable, and one that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        count = 0

        def up() -> None:
            nonlocal count
            count += 1

        def factorial(n: int) -> int:
            return 1 if n < 2 else n * factorial(n - 1)

        def pay(scale: float = 0.5) -> float:
            up()
            return scale * count + factorial(min(count, 5))

        self.up = up
        self.pay = pay

    def reset(self, **kwargs: Any) -> Any:
        self.up()
        return super().reset(**kwargs)


class Decorated(Walk):
    """Keeps a decorated function, whose decorator is another module's."""

    def __init__(self) -> None:
        super().__init__()

        @counting
        def pay() -> float:
            return self.money

        self.pay = pay
        self.members = {self: 1.0}


class Task:
    """Has a reference back to its environment."""

    def __init__(self, env: Walk):
        self.env = env

    def __call__(self) -> float:
        return self.env.money


class BackReference(Walk):
    """Keeps a helper that refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = Task(self)


class WeakTask:
    """Has a weak reference back to its environment."""

    def __init__(self, env: Walk):
        self.env = weakref.ref(env)

    def __call__(self) -> float:
        env = self.env()
        assert env is not None
        return env.money


class WeakReference(Walk):
    """Keeps a helper that refers to it weakly."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = WeakTask(self)


class Generators(Walk):
    """Several names for one generator, and methods of generators."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = random.Random(5)
        self.roll = self.dice.random
        self.rng = np.random.default_rng(7)
        self.shared = [self.rng]
        self.legacy = np.random.RandomState(self.rng.bit_generator)
        self.draw = self.rng.normal

    def pay(self) -> float:
        parts = self.roll(), self.dice.random(), self.shared[0].normal(), self.draw()
        return float(sum(parts) + self.legacy.normal() + self.rng.normal())


class Views(Walk):
    """Arrays that share memory with one another, with bytes and with a list of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = np.zeros((4, 3))
        self.row = self.whole[1]
        self.backwards = self.whole.T[::-1, ::2]
        self.buffer = bytearray(8)
        self.pixels = np.frombuffer(self.buffer, np.uint8)
        self.array = array("d", [0.0, 0.0])
        self.numbers = np.frombuffer(self.array)
        self.fortran = np.asfortranarray(np.zeros((2, 3)))
        self.column = self.fortran[:, 1]
        self.tensor = torch.zeros(2, 3)
        self.seen = self.tensor[:, 2]
        self.as_numpy = self.tensor.numpy()

    def pay(self) -> float:
        self.row += 1
        self.backwards[0] += 2
        self.pixels[2] += 1
        self.numbers[1] += 0.5
        self.column += 3
        self.seen += 1
        self.as_numpy[0] += 0.25
        return float(self.tensor.sum()) + float(
            self.whole.sum()
            + self.buffer[2]
            + self.array[1]
            + (self.fortran * self.whole[:2]).sum()
        )


class OwnEnv(Walk):
    """Keeps simulators under the names of gymnasium's own attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.env = gymnasium.make("CartPole-v1")
        self.func = gymnasium.make("InvertedPendulum-v5")
        self.spec_ = self.func.unwrapped

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.env.reset(seed=seed)
        self.func.reset(seed=seed)
        return super().reset(seed=seed)

    def pay(self) -> float:
        first = self.env.step(self.time % 2)[0]
        second = self.func.step(np.full(1, 0.1 * (self.time % 3), np.float32))[0]
        return float(first.sum() + second.sum() + self.spec_.data.qpos.sum())  # type: ignore[attr-defined]


class Counted(EzPickle):
    """A helper that pickling would make anew from its arguments."""

    def __init__(self, start: float):
        super().__init__(start)
        self.count = start

    def __call__(self) -> float:
        self.count += 1
        return self.count


class Remade(Walk):
    """Keeps such a helper."""

    def __init__(self) -> None:
        super().__init__()
        self.pay = Counted(10.0)


class Pickled(Walk, EzPickle):
    """Is itself one that pickling would make anew, and says another state than it has."""

    def __init__(self) -> None:
        Walk.__init__(self)
        EzPickle.__init__(self)
        self.pay = self.earn


class Slots(Walk):
    """Has a slot, with a value now and then."""

    __slots__ = ("extra",)

    def pay(self) -> float:
        if hasattr(self, "extra"):
            del self.extra
            return -self.money
        self.extra = 1
        return self.money


class Deleted(Walk):
    """Deletes an attribute that a new one has."""

    def __init__(self) -> None:
        super().__init__()
        self.bonus: float | None = 100.0

    def pay(self) -> float:
        if self.money == 3:
            del self.bonus
        return self.money + (getattr(self, "bonus", None) or 0.0)


class Containers(Walk):
    """Objects that refer to one another in a circle, in containers of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.last: deque[list[float]] = deque([[0.0]], maxlen=3)
        self.by_name: dict[str, Any] = {"last": self.last, "env": self}
        self.last[0].append(1.0)
        self.module = np
        self.loop: list[Any] = []
        self.loop.append(self.loop)

    def pay(self) -> float:
        assert self.loop[0] is self.loop
        self.by_name["last"].append([self.by_name["env"].money])
        return float(self.module.sum([numbers[0] for numbers in self.last]))


class SamplesSpaces(Walk):
    """Is random through its spaces."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.action_space.seed(seed)
            self.observation_space.seed(seed)
        return super().reset(seed=seed)

    def pay(self) -> float:
        return float(self.action_space.sample().sum() + self.observation_space.sample().sum())


class Global(Walk):
    """Is random through the generators of the process, which are saved elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.normal = np.random.normal
        self.random = random.random

    def pay(self) -> float:
        return float(self.normal() + self.random())


def assert_restored(make: Callable[[], Env], steps: int = 5) -> None:
    """Two generations of restored environments go on as the original, through several episodes."""
    original, restored, again = make(), make(), make()
    for env, seed in ((original, 3), (restored, 99), (again, 100)):
        env.reset(seed=seed)
        env.step(ZERO)
    for _ in range(steps):
        original.step(ZERO)
    state = get_state(original)
    assert state is not None, obstacle(original)
    set_state(restored, state)
    second = get_state(restored)
    assert second is not None, obstacle(restored)
    set_state(again, second)
    expected = _future(original)
    assert _future(restored) == expected
    assert _future(again) == expected


def _future(env: Env) -> list[Any]:
    random.seed(0)
    np.random.seed(0)
    seen = []
    for _ in range(120):
        observation, reward, terminated, truncated, _ = env.step(ZERO)
        if terminated or truncated:
            observation, _ = env.reset()
        seen.append((np.asarray(observation).tolist(), float(reward), terminated, truncated))
    return seen


@pytest.mark.parametrize(
    "make",
    [
        Method,
        MethodOfAnotherName,
        Partial,
        Lambda,
        SharedVariable,
        Decorated,
        BackReference,
        WeakReference,
        Generators,
        Views,
        OwnEnv,
        Remade,
        Pickled,
        Slots,
        Deleted,
        Containers,
        SamplesSpaces,
        Global,
    ],
)
def test_what_an_environment_holds(make: Callable[[], Env]) -> None:
    assert_restored(make)


class Shift(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Sees the layer below, the base and itself, under a name of its own and of gymnasium's."""

    def __init__(self, env: Env):
        super().__init__(env)
        self.base = env.unwrapped
        self.func = self.count
        self.env.on_step = self.func  # type: ignore[attr-defined]
        self.counted = 0

    def count(self) -> int:
        self.counted += 1
        return self.counted

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        bonus = self.env.get_wrapper_attr("on_step")() + self.base.get_wrapper_attr("money")
        return observation, float(reward) + bonus, *rest


class Forwards(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Passes on what it does not have, ``state_dict`` too."""

    def __init__(self, env: Env):
        super().__init__(env)
        self.steps_seen = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["env"], name)

    def step(self, action: Any) -> Any:
        self.steps_seen += 1
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) + self.steps_seen, *rest


class KeepsItself(Method):
    """Says what its state is, with a generator that another layer uses too."""

    def state_dict(self) -> dict[str, Any]:
        return {"money": self.money, "time": self.time, "np_random": self.np_random}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.money, self.time = state["money"], state["time"]
        self.np_random = state["np_random"]


class Noisy(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws from the generator of what it wraps."""

    def reset(self, **kwargs: Any) -> Any:
        result = self.env.reset(**kwargs)
        self.generator = self.env.unwrapped.np_random
        return result

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) + self.generator.normal(), *rest


class OneOfTwo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Exchanges what it wraps at each reset."""

    def __init__(self) -> None:
        self.tasks = [Method(), TransformReward(BackReference(), float)]
        super().__init__(self.tasks[0])
        self.turn = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.turn += 1
        self.env = self.tasks[self.turn % 2]
        if seed is not None:
            for task in self.tasks:
                task.reset(seed=seed)
        return self.env.reset(options=options)


def _with_counting_lambda(env: Env) -> Env:
    seen = [0.0]

    def shift(observation: np.ndarray) -> np.ndarray:
        seen[0] += 0.25
        return observation + seen[0]

    return TransformObservation(env, lambda observation: shift(observation), None)


@pytest.mark.parametrize(
    "wrap",
    [
        Shift,
        lambda env: Shift(Forwards(env)),
        lambda env: Forwards(KeepsItself()),
        lambda env: Noisy(KeepsItself()),
        lambda env: Noisy(TransformReward(env, lambda reward: 2 * reward)),
        lambda env: OneOfTwo(),
        _with_counting_lambda,
        ClipAction,
        lambda env: DelayObservation(env, 2),
        lambda env: FrameStackObservation(env, 3),
        NormalizeObservation,
        NormalizeReward,
        lambda env: StickyAction(env, 0.5),
        lambda env: TimeAwareObservation(gymnasium.wrappers.TimeLimit(env, 30)),
        lambda env: RecordEpisodeStatistics(NormalizeObservation(FrameStackObservation(env, 2))),
    ],
)
def test_what_wrappers_hold(wrap: Callable[[Env], Env]) -> None:
    assert_restored(lambda: wrap(Method()))


class Randomised(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Changes MuJoCo's model, and sees the simulation through views of it."""

    def __init__(self, env: Env):
        super().__init__(env)
        self.sim: Any = env.unwrapped
        self.positions = self.sim.data.qpos
        self.torso = self.sim.data.xpos[1]
        self.masses = self.sim.model.body_mass[1:]

    def reset(self, **kwargs: Any) -> Any:
        result = self.env.reset(**kwargs)
        self.masses *= self.sim.np_random.uniform(0.9, 1.1, self.masses.shape)
        return result

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(np.full(3, 0.3, np.float32))
        return observation, float(reward) + self.positions[1] + self.torso.sum(), *rest


def test_a_model_and_views_of_a_simulation() -> None:
    def make() -> Env:
        return Randomised(make_env("Hopper-v5"))

    assert_restored(make)
    original, restored = make(), make()
    original.reset(seed=1)
    restored.reset(seed=2)
    set_state(restored, get_state(original))  # type: ignore[arg-type]
    sim: Any = restored.unwrapped
    # What draws the simulation draws the restored one.
    assert sim.mujoco_renderer.data is sim.data
    assert sim.mujoco_renderer.model is sim.model is sim.data.model


def test_spaces_stay_the_objects_that_others_hold() -> None:
    """A vectorised environment and an agent hold the spaces of a new environment."""
    original, restored = (FrameStackObservation(SamplesSpaces(), 2) for _ in range(2))
    original.reset(seed=3)
    restored.reset(seed=4)
    actions, observations = restored.action_space, restored.observation_space
    set_state(restored, get_state(original))  # type: ignore[arg-type]
    assert restored.action_space is actions
    assert restored.observation_space is observations
    original.action_space.sample()
    np.testing.assert_array_equal(original.action_space.sample(), _second(actions))


def _second(space: spaces.Space[Any]) -> Any:
    space.sample()
    return space.sample()


def _stateful(make: Callable[[], Env]) -> Env:
    return Stateful(Monitor(make()))


@pytest.mark.slow
def test_processes_of_their_own() -> None:
    makers = [partial(_stateful, make) for make in (Lambda, BackReference)]
    originals: list[Any] = [make() for make in makers]
    for original in originals:
        original.reset(seed=3)
        for _ in range(5):
            original.step(ZERO)
    workers = SubprocVecEnv(makers)
    try:
        workers.reset()
        workers.step(np.zeros((2, 2), np.float32))
        for index, original in enumerate(originals):
            state = original.get_state()
            assert workers.env_method("set_state", state, indices=index) == [None]
        for _ in range(20):
            observations, rewards, *_ = workers.step(np.zeros((2, 2), np.float32))
            for index, original in enumerate(originals):
                observation, reward, *_ = original.step(ZERO)
                np.testing.assert_array_equal(observations[index], observation)
                assert rewards[index] == reward
    finally:
        workers.close()


class Remembers(Match):
    """Cannot be pickled from its fourth step on."""

    def step(self, action: Any) -> Any:
        result = super().step(action)
        if self.time == 4:
            self.log = (number for number in range(3))
        return result


def test_what_stands_in_the_way_is_named(tmp_path: Any) -> None:
    def attribute(value: Any) -> str | None:
        env = Shift(Method())
        env.reset(seed=0)
        env.unwrapped.held = {"deep": [value]}  # type: ignore[attr-defined]
        assert get_state(env) is None
        return obstacle(env)

    class Local:
        pass

    with (tmp_path / "log").open("w") as file:
        assert attribute(file) == "Method.held (cannot pickle '_io.TextIOWrapper' object)"
    generator = (number for number in range(3))
    assert attribute(generator) == "Method.held (cannot pickle 'generator' object)"
    assert attribute(lambda: generator) == "Method.held (cannot pickle 'generator' object)"
    assert "Local" in str(attribute(Local()))
    env = Shift(Method())
    env.reset(seed=0)
    assert obstacle(env) is None


def test_what_stands_in_the_way_later_is_named_too() -> None:
    env = Stateful(Remembers())
    env.reset(seed=0)
    assert env.get_state() is not None
    assert env.obstacle is None
    for _ in range(4):
        env.step(0)
    assert env.get_state() is None
    assert env.obstacle == "Remembers.log (cannot pickle 'generator' object)"


def test_code_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    env = TransformObservation(Follow(), lambda observation: observation, None)
    env.reset(seed=0)
    monkeypatch.setattr("snnrl.envs.graph.MAGIC_NUMBER", b"3.14")
    state = get_state(env)
    assert state is not None
    monkeypatch.undo()
    again = Stateful(TransformObservation(Follow(), lambda observation: observation, None))
    again.reset(seed=1)
    problem = again.set_state(state)
    assert problem is not None and "a function that another version of Python saved" in problem
