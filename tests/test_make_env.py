"""Making environments, and their whole state."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from snnrl.envs import get_state, make_env, set_state
from snnrl.errors import UserError
from tests.envs import Follow

IDS = ["Pendulum-v1", "InvertedPendulum-v4", "HalfCheetah-v4", "Hopper-v5", "Ant-v4"]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("steps", [0, 7])
def test_a_restored_environment_goes_on_identically(env_id: str, steps: int) -> None:
    """Through the end of episodes too, whose next starts come from the environment's generator."""
    original = make_env(env_id)
    original.reset(seed=3)
    assert original.action_space.shape
    actions = np.random.default_rng(0).uniform(-1, 1, (60, *original.action_space.shape))
    for action in actions[:steps]:
        original.step(action)
    state = get_state(original)
    assert state is not None
    restored = make_env(env_id)
    restored.reset(seed=99)
    set_state(restored, pickle.loads(pickle.dumps(state)))
    for action in actions[steps:]:
        ours, theirs = original.step(action), restored.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
        if ours[2] or ours[3] or np.abs(ours[0]).sum() > 50:
            np.testing.assert_array_equal(original.reset()[0], restored.reset()[0])


def test_time_limits_are_part_of_the_state() -> None:
    original, restored = make_env("Pendulum-v1"), make_env("Pendulum-v1")
    for env in (original, restored):
        env.reset(seed=0)
    for _ in range(150):
        original.step(np.zeros(1))
    state = get_state(original)
    assert state is not None
    set_state(restored, state)
    truncated = [restored.step(np.zeros(1))[3] for _ in range(50)]
    assert truncated == [False] * 49 + [True]


def test_what_cannot_be_pickled_has_no_state() -> None:
    class Holding(gymnasium.Wrapper[Any, Any, Any, Any]):
        held: Any = None

    env = Holding(Follow())
    env.reset(seed=0)
    assert get_state(env) is not None
    env.held = (n for n in range(3))
    assert get_state(env) is None


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("Pendulm-v1", "did you mean 'Pendulum-v1'?"),
        ("Pendulum-v0", "no such environment"),
        ("no_such_package:Env-v0", "no_such_package"),
        ("not an id", "no such environment"),
    ],
)
def test_an_environment_that_is_not_there(env_id: str, words: str) -> None:
    with pytest.raises(UserError, match=f"env.id={env_id}: ") as raised:
        make_env(env_id)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_making_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_env("HalfCheetah-v4").close()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
