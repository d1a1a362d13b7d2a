"""Environments in processes of their own are independent, and the same again for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from snnrl.envs import Stateful
from snnrl.experiment.workers import Workers
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


def test_no_two_rows_are_equal(seen: np.ndarray) -> None:
    # Whatever the generator: numpy's, Python's, torch's, the environment's own.
    for column in range(4):
        assert len(np.unique(seen[:, :, column])) == seen[:, :, column].size


def test_the_same_seed_plays_the_same(seen: np.ndarray) -> None:
    np.testing.assert_array_equal(play(Careless, 3)[0], seen)


def test_neighbouring_seeds_share_nothing(seen: np.ndarray) -> None:
    other = play(Careless, 4)[0]
    assert not np.isin(other, seen).any()


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


def test_an_environment_without_a_state_has_none_here_either() -> None:
    assert play(Unsaved, 0, steps=2)[1] == [None, None]
