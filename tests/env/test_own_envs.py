"""One's own environments: they run, or are refused before training in one line with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf

from snnrl.agents import PPO, TD3
from snnrl.envs import Stateful, make_env
from snnrl.errors import UserError
from snnrl.experiment.config.check_spaces import check_environment
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.episode_starts import AdditiveStarts
from tests import own_envs
from tests.experiment.helpers import train

FIVE = "expected (observation, reward, terminated, truncated, info)"
REFUSED = {
    "Raising": "cannot be made (ValueError: no such track: monaco, own_envs.py:",
    "RaisingUnchecked": "cannot be made (ValueError: no such track: monaco, own_envs.py:",
    "Exiting": "cannot be made (SystemExit: licence expired, own_envs.py:",
    "Needy": "cannot be made (TypeError: Needy.__init__() missing 1 required positional argument: "
    "'track', own_envs.py:",
    "NotAnEnv": "cannot be made (TypeError: The environment must inherit from ",
    "NoSpaces": "cannot be made (AttributeError: The environment must specify an action space",
    "NoSpacesUnchecked": "its observation_space is None; expected a gymnasium space",
    "NoActionsUnchecked": "its action_space is None; expected a gymnasium space",
    "TupleSpaceUnchecked": "its observation_space is (3,); expected a gymnasium space",
    "CloseRaises": "close() fails (RuntimeError: the simulator has gone, own_envs.py:",
    "ResetRaises": "reset() fails (KeyError: 'start', own_envs.py:",
    "OldReset": "reset() returns one ndarray; expected (observation, info)",
    "NoSeed": "reset() fails (TypeError: NoSeed.reset() got an unexpected keyword argument 'seed', "
    "own_envs.py:",
    "StepRaises": "step() fails (KeyError: 'mass', own_envs.py:",
    "OldStep": "step() fails (ValueError: not enough values to unpack",
    "OldStepUnchecked": f"step() returns 4 values; {FIVE}",
    "StepsNothingUnchecked": f"step() returns one NoneType; {FIVE}",
    "ReadOnlySpec": "cannot be made (AttributeError: property 'spec' of ",
    "Scalar": "observes Box(-1.0, 1.0, (), float32); expected one-dimensional Box",
    "Empty": "observes shape (0,), which holds no number; expected at least one",
    "EmptyImage": "observes shape (1, 0, 8), which holds no number",
    "EqualBytes": "observes bytes whose bounds are all 7; expected low below high",
    "NothingSeen": "observes Discrete(3); expected one-dimensional Box",
    "EqualAction": "action_space.low[1]=2 and high=2; expected low below high",
    "ReversedAction": "action_space.low[0]=1 and high=-1; expected low below high",
    "NanAction": "its actions have no bounds",
    "InfiniteAction": "its actions have no bounds",
    "HalfInfiniteAction": "its actions have no bounds",
    "HugeAction": "action_space.low[0]=-3e+38 and high=3e+38 are too far apart for float32",
    "ScalarAction": "takes Box(-1.0, 1.0, (), float32); expected",
    "EmptyAction": "takes Box([], [], (0,), float32); expected",
    "IntegerAction": "takes Box(-1, 1, (1,), int64); expected",
}
WORKS = (
    "OwnRandom",
    "PythonRandom",
    "ReadOnlyRandom",
    "ReadOnlySpaces",
    "ReadOnlyMetadata",
    "MatrixAction",
    "InfiniteSeen",
    "Double",
    "Half",
    "Truth",
    "Long",
)


def config(name: str, **changes: Any) -> DictConfig:
    image = ["algo=ppo", "conv=minatar", "encoder=direct"] if "Image" in name else []
    cfg = compose_config(image)
    return OmegaConf.merge(cfg, {"env": {"id": f"tests.own_envs:Own/{name}-v0"}, **changes})  # type: ignore[return-value]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_work_is_refused(
    name: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    with pytest.raises(UserError) as refusal:
        check_environment(config(name))
    line = str(refusal.value)
    assert line.startswith(f"env.id=tests.own_envs:Own/{name}-v0: {REFUSED[name]}")
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")
    assert not [w for w in recwarn if "seed" in str(w.message)]


WITHOUT_A_FRAME = {
    "Needy": own_envs.Needy,
    "NotAnEnv": own_envs.NotAnEnv,
    "NoSpaces": own_envs.NoSpaces,
    "ReadOnlySpec": own_envs.ReadOnlySpec,
    "OldReset": own_envs.OldReset.reset,
    "OldResetUnchecked": own_envs.OldReset.reset,
    "NoSeed": own_envs.NoSeed.reset,
    "OldStep": own_envs.OldStep.step,
    "OldStepUnchecked": own_envs.OldStep.step,
    "StepsNothingUnchecked": own_envs.StepsNothing.step,
}
"""What is refused without a line of it having run at that moment."""


def line_of(thing: Any) -> str:
    return f"own_envs.py:{inspect.getsourcelines(thing)[1]})"


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", WITHOUT_A_FRAME)
def test_what_returned_or_lacks_something_is_named_by_its_first_line(name: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_environment(config(name))
    assert line_of(WITHOUT_A_FRAME[name]) in str(refusal.value)


def test_the_wrapper_that_is_at_fault_is_named() -> None:
    wrapper = {"env": {"wrappers": ["tests.own_envs:FourValues"]}}
    with pytest.raises(UserError) as refusal:
        check_environment(OmegaConf.merge(config("Half"), wrapper))  # type: ignore[arg-type]
    assert str(refusal.value).endswith(f"{FIVE} ({line_of(own_envs.FourValues.step)}")


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["env=pendulum", "+env.kwargs.g=abc"],
            r"step\(\) fails \(TypeError: .*, pendulum\.py:\d+\)$",
        ),
        (
            ["env=inverted_pendulum", "+env.kwargs.frame_skip=abc"],
            r"cannot be made \(TypeError: .*, inverted_pendulum_v4\.py:\d+\)$",
        ),
        (
            ["env=hopper", "+env.kwargs.reset_noise_scale=abc"],
            r"reset\(\) fails \(TypeError: .*, hopper_v4\.py:\d+\)$",
        ),
    ],
)
def test_a_wrong_argument_of_an_environment_of_gymnasium(settings: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_environment(compose_config(settings))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", WORKS)
def test_what_works_is_not(name: str) -> None:
    check_environment(config(name))


def test_every_environment_of_the_module_is_in_a_list() -> None:
    names = {spec.name for spec in gymnasium.registry.values() if spec.namespace == "Own"}
    twice = {name for name in names if name.endswith("Unchecked")}
    assert names - twice - {"Spaced", "NoActions", "TupleSpace", "StepsNothing"} == {
        *REFUSED.keys() - twice,
        *WORKS,
    }


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ["Raising", "CloseRaises", "StepRaises", "EqualAction"])
def test_the_command_leaves_nothing_behind(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env_id = f"env.id=tests.own_envs:Own/{name}-v0"
    assert train(tmp_path / "runs", env_id) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {env_id}: {REFUSED[name]}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "cannot be imported (SyntaxError: invalid syntax (racing.py, line 1)"),
        ("x = 1 / 0\n", "cannot be imported (ZeroDivisionError: division by zero, racing.py:1)"),
        ("import no_such_simulator\n", "cannot be imported (No module named 'no_such_simulator')"),
        ("raise SystemExit(3)\n", "cannot be imported (SystemExit: 3, racing.py:1)"),
        ("x = 1\n", "no such environment"),
    ],
)
def test_a_module_that_does_not_import(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "racing.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refusal:
        make_env("racing:Race-v0")
    assert str(refusal.value).startswith("env.id=racing:Race-v0: ")
    assert words in str(refusal.value)


@pytest.mark.parametrize("env_id", [":Race-v0", ".racing:Race-v0", "a:b:Race-v0", "/:Race-v0", ":"])
def test_an_id_whose_module_is_no_name(env_id: str) -> None:
    with pytest.raises(UserError, match=rf"^env\.id={env_id}: "):
        make_env(env_id)


PYTHON = {name: words for name, words in REFUSED.items() if name in own_envs.SPACES}
NOT_PYTHON = ("Scalar", "NothingSeen", "ScalarAction", "EmptyAction", "IntegerAction")
"""Refused by Stable-Baselines3 or the policy, in their own words."""


@pytest.mark.parametrize("name", sorted(PYTHON.keys() - set(NOT_PYTHON)))
@pytest.mark.parametrize("policy", ["SpikingPolicy", "AnnPolicy"])
def test_from_python(name: str, policy: str) -> None:
    env = own_envs.Spaced(*own_envs.SPACES[name])
    agent: Callable[..., Any] = PPO if "Image" in name else TD3
    with pytest.raises(UserError) as refusal:
        agent(policy, env, buffer_size=8) if agent is TD3 else agent(policy, env)
    assert str(refusal.value).startswith(f"env: {PYTHON[name]}")


def test_spaces_that_are_missing_from_python() -> None:
    with pytest.raises(UserError, match=r"^env: its observation_space is None; expected"):
        TD3("SpikingPolicy", own_envs.NoSpaces(), buffer_size=8)
    with pytest.raises(UserError, match=r"^env: its action_space is None; expected"):
        TD3("SpikingPolicy", own_envs.NoActions(), buffer_size=8)


@pytest.mark.parametrize("name", ["OwnRandom", "PythonRandom", "ReadOnlyRandom"])
def test_a_generator_of_its_own_goes_on_where_it_was(name: str) -> None:
    env, other = (Stateful(make_env(f"tests.own_envs:Own/{name}-v0")) for _ in range(2))
    action = np.zeros(2, np.float32)
    env.reset(seed=3)
    env.step(action)
    other.reset(seed=4)
    state = env.get_state()
    assert state is not None
    assert other.set_state(state) is None
    for _ in range(3):
        np.testing.assert_array_equal(env.step(action)[0], other.step(action)[0])


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OwnRandom", "np_random of OwnRandom is a RandomState"),
        ("PythonRandom", "np_random of PythonRandom is a Random"),
        ("ReadOnlyRandom", "np_random of ReadOnlyRandom cannot be set"),
    ],
)
def test_sums_of_seeds_need_a_generator_that_can_be_replaced(name: str, words: str) -> None:
    """Once a generator of numpy's took the place of its own, and an episode drew from it."""
    with pytest.raises(UserError, match=f"^seeding=additive: {words}; expected seeding=indep"):
        check_environment(config(name, seeding="additive"))
    env = make_env(f"tests.own_envs:Own/{name}-v0")
    with pytest.raises(UserError, match=words):
        AdditiveStarts(0).begin(env, 1)
