"""Environments in processes of their own are independent, and the same again for the same seed."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from snnrl.envs import Stateful
from snnrl.errors import UserError
from snnrl.experiment.workers import (
    LEFT_TO_THE_RUN,
    EnvironmentEnded,
    EnvironmentFailed,
    Workers,
    _Pipe,
    _Raised,
)
from tests.envs import Follow
from tests.random_envs import Careless

ACTIONS = np.zeros((2, 2), np.float32)


def play(
    make: Callable[[], gymnasium.Env[Any, Any]], seed: int, steps: int = 12
) -> tuple[np.ndarray, list[Any]]:
    """Observations ``[steps + 1, 2, 4]`` across a reset, and the state before the last step."""
    workers = Workers(lambda: Stateful(make()), 2, seed)
    try:
        workers.seed(seed)
        seen = [workers.reset()]
        for _ in range(steps):
            states = workers.env_method("get_state")
            seen.append(workers.step(ACTIONS)[0])
        return np.stack(seen), states  # type: ignore[arg-type]
    finally:
        workers.close()


@pytest.fixture(scope="module")
def seen() -> np.ndarray:
    return play(Careless, 3)[0]


@pytest.mark.slow
def test_no_two_rows_are_equal(seen: np.ndarray) -> None:
    # Whatever the generator: numpy's, Python's, torch's, the environment's own.
    for column in range(4):
        assert len(np.unique(seen[:, :, column])) == seen[:, :, column].size


@pytest.mark.slow
def test_the_same_seed_plays_the_same(seen: np.ndarray) -> None:
    np.testing.assert_array_equal(play(Careless, 3)[0], seen)


@pytest.mark.slow
def test_neighbouring_seeds_share_nothing(seen: np.ndarray) -> None:
    other = play(Careless, 4)[0]
    assert not np.isin(other, seen).any()


@pytest.mark.slow
def test_a_restored_process_draws_what_the_old_one_would_have_drawn(seen: np.ndarray) -> None:
    _, states = play(Careless, 3)
    workers = Workers(lambda: Stateful(Careless()), 2, seed=99)
    try:
        workers.seed(99)
        workers.reset()
        for index, state in enumerate(states):
            workers.env_method("set_state", state, indices=index)
        np.testing.assert_array_equal(workers.step(ACTIONS)[0], seen[-1])
    finally:
        workers.close()


class Unsaved(Follow):
    """Holds something that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.held = (number for number in ())


class Failing(Follow):
    """Fails at a moment, in a way."""

    def __init__(self, moment: str, failure: str):
        super().__init__()
        self.moment, self.failure = moment, failure
        self.fail("__init__")

    def fail(self, moment: str) -> None:
        if moment != self.moment:
            return
        if self.failure == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {
            "mistake": UserError("env.id=mine: a mistake"),
            "bug": ZeroDivisionError("a bug\nof two lines"),
            "end": EOFError("of its simulator"),
            "pipe": BrokenPipeError(32, "its simulator's"),
            "odd": Unpicklable(lambda: 0),
        }[self.failure]

    def reset(self, **arguments: Any) -> Any:
        self.fail("reset")
        return super().reset(**arguments)

    def step(self, action: Any) -> Any:
        self.fail("step")
        return super().step(action)

    def own(self) -> None:
        self.fail("method")


FAILS = inspect.getsourcelines(Failing.fail)[1] + 5
"""The line that raises."""


class Unpicklable(Exception):
    pass


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are there at once."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: fork)


def fail(moment: str, failure: str) -> None:
    """Fail in one of two processes, which are both gone afterwards."""
    workers = None
    try:
        workers = Workers(lambda: Stateful(Failing(moment, failure)), 2, 0)
        workers.seed(0)
        workers.reset()
        workers.step(ACTIONS)
        workers.env_method("own", indices=1)
        raise AssertionError
    finally:
        if workers is not None:
            workers.close()
        assert multiprocessing.active_children() == []


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("moment", "failure", "line"),
    [
        ("__init__", "bug", "ZeroDivisionError: a bug"),
        ("reset", "end", "EOFError: of its simulator"),
        ("step", "end", "EOFError: of its simulator"),
        ("step", "pipe", "BrokenPipeError: [Errno 32] its simulator's"),
        ("step", "odd", "Unpicklable: <function"),
        ("method", "bug", "ZeroDivisionError: a bug"),
    ],
)
def test_an_exception_of_an_environment_is_told_with_its_traceback(
    moment: str, failure: str, line: str, forked: None
) -> None:
    with pytest.raises(EnvironmentFailed) as raised:
        fail(moment, failure)
    assert str(raised.value).startswith(line)
    place, told = f", test_workers.py:{FAILS}", str(raised.value)
    assert told.endswith(f"{place}, in the process of an environment")
    told = "".join(traceback.format_exception(raised.value))
    assert f'fail("{moment}")' in told
    assert "test_workers.py" in told.split("The above exception")[0]


def test_a_mistake_of_an_environment_is_one_here(forked: None) -> None:
    with pytest.raises(UserError, match=r"^env\.id=mine: a mistake$"):
        fail("step", "mistake")


def test_a_process_that_is_killed(forked: None) -> None:
    words = r"^the process of an environment ended by SIGKILL \(out of memory\?\)$"
    with pytest.raises(EnvironmentEnded, match=words):
        fail("step", "killed")


class Dead:
    """A connection whose other end has gone away."""

    def __init__(self, failure: Exception):
        self.failure = failure

    def send(self, message: Any) -> None:
        raise BrokenPipeError

    def recv(self) -> Any:
        raise self.failure


class Exited:
    exitcode = 1

    def join(self, timeout: float) -> None: ...


@pytest.mark.parametrize("failure", [EOFError(), ConnectionResetError(), BrokenPipeError()])
def test_only_its_own_pipe_means_that_a_process_has_ended(failure: Exception) -> None:
    pipe = _Pipe(Dead(failure), Exited())  # type: ignore[arg-type]
    for call in (pipe.recv, lambda: pipe.send("step")):
        with pytest.raises(EnvironmentEnded, match=r"^the process of an environment ended$"):
            call()


def test_an_exception_comes_before_the_end_of_its_process() -> None:
    dead = Dead(EOFError())
    dead.recv = lambda: _Raised("ValueError: no", "trace", False)  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFailed, match=r"^ValueError: no, in the process"):
        _Pipe(dead, Exited()).send("reset")  # type: ignore[arg-type]


class Signalled(Follow):
    """Sends its own process what a scheduler sends to all of a job."""

    def step(self, action: Any) -> Any:
        for number in LEFT_TO_THE_RUN:
            signal.raise_signal(number)
        # Its output has no reader either.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
        print("a line", flush=True)
        return super().step(action)


def test_signals_to_a_run_leave_its_environments_alive(forked: None) -> None:
    seen, states = play(Signalled, 0, steps=2)
    assert seen.shape[0] == 3
    assert None not in states


@pytest.mark.slow
def test_an_environment_without_a_state_has_none_here_either() -> None:
    assert play(Unsaved, 0, steps=2)[1] == [None, None]
