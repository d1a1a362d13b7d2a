"""What does not fit an environment's spaces is refused in one line, never broadcast or cut off."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snnrl.envs import make_env
from snnrl.errors import UserError
from tests.broken_envs import Says
from tests.experiment.helpers import train

ZERO = np.zeros(2, np.float32)


def line_of(method: Any) -> str:
    return f"{Path(inspect.getfile(method)).name}:{inspect.getsourcelines(method)[1]}"


def _error_of(**options: Any) -> str:
    env = make_env("Says-v0", **options)
    with pytest.raises(UserError) as error:
        env.reset(seed=0)
        env.step(ZERO)
    return str(error.value)


@pytest.mark.parametrize(
    ("observation", "said"),
    [
        (0.5, "() of float64"),
        ([0.5], "(1,) of float64"),
        (np.zeros((2, 1), np.float32), "(2, 1) of float32"),
        (np.zeros(3, np.float32), "(3,) of float32"),
        (np.zeros(2, complex), "(2,) of complex128"),
        (np.array(["1", "2"]), "(2,) of <U1"),
        (np.array([None, None]), "(2,) of object"),
    ],
)
@pytest.mark.parametrize(("late", "method"), [(0, "reset"), (1, "step")])
def test_observations(observation: Any, said: str, late: int, method: str) -> None:
    assert _error_of(late=late, changes={"observation": observation}) == (
        f"env.id=Says-v0: {method}() observes shape {said}; expected shape (2,) of float32, as its "
        f"observation_space says ({line_of(getattr(Says, method))})"
    )


@pytest.mark.parametrize(
    "observation", [[0.5, 0.25], np.zeros(2), np.zeros(2, int), np.zeros(2, bool), (1, 0)]
)
def test_observations_that_become_the_same_numbers(observation: Any) -> None:
    env = make_env("Says-v0", changes={"observation": observation})
    env.reset(seed=0)
    assert env.step(ZERO)[0] is observation


def test_images_of_other_numbers_than_bytes() -> None:
    """Fractions would all become black, and what is past 255 would start from 0 again."""
    for dtype, scale in (("float32", 1 / 255), ("float32", 1), ("int64", 2), ("int16", -1)):
        with pytest.raises(UserError, match=r"env.id=Bytes-v0: reset.* expected .* of uint8"):
            make_env("Bytes-v0", dtype=dtype, scale=scale).reset(seed=0)
    make_env("Bytes-v0", dtype="int64").reset(seed=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", np.zeros(1)),
        ("reward", [1.0]),
        ("reward", "1.0"),
        ("reward", None),
        ("reward", 1j),
        ("terminated", np.array([False])),
        ("terminated", "False"),
        ("truncated", None),
        ("truncated", 0.5),
    ],
)
def test_rewards_and_ends(name: str, value: Any) -> None:
    error = _error_of(changes={name: value})
    assert error.startswith("env.id=Says-v0: step() gives shape (")
    wanted = "one number" if name == "reward" else "True or False"
    assert error.endswith(f"expected {wanted} ({line_of(Says.step)})")
    assert f" as {name}; " in error


@pytest.mark.parametrize("reward", [1, 0.5, True, np.float32(1), np.int64(2), np.array(0.5)])
def test_rewards_that_are_one_number(reward: Any) -> None:
    env = make_env("Says-v0", changes={"reward": reward, "terminated": np.bool_(False)})
    env.reset(seed=0)
    assert env.step(ZERO)[1] is reward


@pytest.mark.parametrize("action", [0.0, np.zeros(1), np.zeros((1, 2)), [0.0, 0.0, 0.0]])
def test_actions(action: Any) -> None:
    env = make_env("Says-v0")
    env.reset(seed=0)
    with pytest.raises(UserError, match=r"env.id=Says-v0: received an action of .* expected \(2,"):
        env.step(action)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("n_envs", "name"), [(1, "SaysScalars-v0"), (2, "SaysScalars-v0"), (2, "SaysScalarsLater-v0")]
)
def test_a_run_ends_in_one_line(
    n_envs: int, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also where the environments are processes, and where only a later step is wrong; one that is
    wrong at its start is refused before training."""
    env_id = f"{Says.__module__}:{name}"
    settings = (f"env.id={env_id}", f"env.n_envs={n_envs}", "evaluation.episodes=1")
    later = name == "SaysScalarsLater-v0"
    assert train(tmp_path, *settings) == (1 if later else 2)
    error = capfd.readouterr().err
    assert f"{'failed: UserError' if later else 'error'}: env.id={env_id}: " in error
    assert "() observes shape () of float64; expected shape (2,) of float32" in error
    assert "Traceback" not in error
