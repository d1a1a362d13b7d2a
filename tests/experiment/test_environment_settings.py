"""Arguments of an environment and wrappers around it, as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

from snnrl.envs import Stateful, make_env
from snnrl.errors import UserError
from snnrl.experiment.builder import build_environment, build_training_env
from snnrl.experiment.config import check_overrides, compose_config, expand
from snnrl.experiment.folder import RunFolder, label, settings_hash
from snnrl.experiment.recorded import Recorded, read_record, remake
from snnrl.experiment.spaces import check_environment
from tests.experiment.helpers import arguments, assert_same_run, folder_of, slow_case, train
from tests.experiment.stopped import crash_at

STACK = "env.wrappers=[{name: FrameStackObservation, stack_size: 4},FlattenObservation]"
NORMALISE = "env.wrappers=[NormalizeObservation]"


class Counting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds what it has been given to each reward, and counts steps over episodes."""

    def __init__(self, env: gymnasium.Env[Any, Any], bonus: float = 1.0):
        super().__init__(env)
        self.bonus, self.steps = bonus, 0

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        self.steps += 1
        return observation, float(reward) * 0 + self.bonus * self.steps, *rest


def composed(*overrides: str) -> Any:
    return compose_config(check_overrides(["env=pendulum", *overrides]))


def test_without_them_a_run_is_the_one_it_was() -> None:
    """Their defaults are no part of the hash."""
    cfg = composed()
    assert settings_hash(cfg) == settings_hash(composed("env.wrappers=[]", "env.kwargs={}"))
    before: Any = OmegaConf.to_container(cfg)
    del before["env"]["kwargs"], before["env"]["wrappers"]
    assert settings_hash(OmegaConf.create(before)) == settings_hash(cfg)


def test_with_them_it_is_another() -> None:
    settings = [["env.kwargs.g=9.8"], ["env.kwargs.g=1.6"], [STACK], [NORMALISE], []]
    assert len({settings_hash(composed(*each)) for each in settings}) == len(settings)
    assert "env.kwargs.g=9.8" in label(composed("env.kwargs.g=9.8"))


@pytest.mark.parametrize("given", ["env.kwargs.g=1.5", "env.kwargs={g: 1.5}", "+env.kwargs.g=1.5"])
def test_arguments_reach_the_environment(given: str) -> None:
    cfg = composed(given)
    check_environment(cfg)
    assert build_environment(cfg).unwrapped.g == 1.5  # type: ignore[attr-defined]
    env = build_training_env(cfg)
    assert env.envs[0].unwrapped.g == 1.5  # type: ignore[attr-defined]


def test_gymnasiums_own_arguments() -> None:
    env = build_environment(composed("env.kwargs.max_episode_steps=3"))
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[3] for _ in range(3)]
    assert ends == [False, False, True]


def test_a_sweep_over_an_argument() -> None:
    (texts,) = [check_overrides(["env=pendulum", "env.kwargs.g=1.5,9.8"])]
    found = [compose_config(job).env["kwargs"]["g"] for job in expand(texts)]
    assert found == [1.5, 9.8]


def test_wrappers_stand_in_their_order() -> None:
    env = build_environment(composed(STACK))
    assert env.observation_space.shape == (12,)
    wrapped = composed("env.wrappers=[{name: tests.experiment.test_environment_settings:Counting}]")
    env = build_environment(wrapped)
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[1] for _ in range(3)] == [1, 2, 3]


@pytest.mark.quick_cases(10)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("env.kwargs.gg=1", "cannot be made (TypeError: PendulumEnv.__init__() got an unexpected "
         "keyword argument 'gg'); did you mean 'env.kwargs.g'?"),
        ("env.kwargs=3", "env.kwargs: "),
        ("env.wrappers=FlattenObservation", "env.wrappers: expected a list, such as [Normalize"),
        ("env.wrappers=[FlatenObservation]", "env.wrappers[0]: FlatenObservation is not in "
         "gymnasium.wrappers; did you mean 'FlattenObservation'?"),
        ("env.wrappers=[my_wrapper]", "expected one of theirs, or module:Class"),
        ("env.wrappers=[FlattenObservation,{stack_size: 4}]", "env.wrappers[1]={'stack_size': 4}: "
         "has no name"),
        ("env.wrappers=[7]", "env.wrappers[0]=7: has no name; expected {name: ..., argument: ...}"),
        ("env.wrappers=[{name: FrameStackObservation, stak_size: 4}]", "env.wrappers[0]: "
         "FrameStackObservation takes no argument stak_size; did you mean 'stack_size'?"),
        ("env.wrappers=[FrameStackObservation]", "needs an argument; expected {..., stack_size:"),
        ("env.wrappers=[{name: FrameStackObservation, stack_size: 0}]", "FrameStackObservation "
         "cannot be made ("),
        ("env.wrappers=[{name: FrameStackObservation, stack_size: 4}]", "which "
         "env.wrappers=[FlattenObservation] makes"),
        ("env.wrappers=[no_such_module:Wrap]", "no_such_module:Wrap cannot be imported (ModuleNot"),
        ("env.wrappers=[{name: RecordVideo, video_folder: x}]", "RecordVideo writes files in every "
         "environment; expected python -m snnrl.evaluate --video"),
        ("env.wrappers=[vector]", "expected a class of gymnasium.Wrapper"),
        ("env.wrappers=[tests.envs:Follow]", "expected a class of gymnasium.Wrapper"),
        ("env.wrappers=[tests.envs:Folow]", "tests.envs:Folow is None; expected a class of"),
    ],
)  # fmt: skip
def test_mistakes(given: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        check_environment(composed(given))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_argument_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match=r"'track'\); expected env\.kwargs\.track=\.\.\.$"):
        make_env("tests.own_envs:Own/Needy-v0")
    make_env("tests.own_envs:Own/Needy-v0", kwargs={"track": "spa"})


def test_what_wrappers_keep_is_in_the_state() -> None:
    wrappers: list[Any] = ["NormalizeObservation", {"name": f"{__name__}:Counting"}]
    env, other = (Stateful(make_env("Pendulum-v1", wrappers=wrappers)) for _ in range(2))
    action = np.ones(1, np.float32)
    env.reset(seed=0)
    for _ in range(5):
        env.step(action)
    other.reset(seed=1)
    state = env.get_state()
    assert state is not None
    assert other.set_state(state) is None
    for _ in range(3):
        theirs, ours = other.step(action), env.step(action)
        np.testing.assert_array_equal(theirs[0], ours[0])
        assert theirs[1] == ours[1]


def test_the_command_that_makes_a_run_again(tmp_path: Path) -> None:
    given = ["env=pendulum", "env.kwargs.g=1.5", "env.wrappers=[{name: TimeLimit, "
             "max_episode_steps: 7},FlattenObservation]", "total_steps=30"]  # fmt: skip
    assert train(tmp_path, *given) == 0
    folder = RunFolder(compose_config(check_overrides(arguments(tmp_path, *given))))
    cfg, overrides = remake(read_record(folder.path), tmp_path / "again")
    assert settings_hash(cfg) == settings_hash(folder.cfg)
    assert cfg.env == folder.cfg.env
    assert settings_hash(compose_config(overrides)) == settings_hash(cfg)


def test_any_argument_comes_back(tmp_path: Path) -> None:
    """Words that are values elsewhere, numbers in quotes, what stands inside."""
    arguments_: dict[str, Any] = {
        "name": "spa",
        "words": [
            "true",
            "null",
            "1e3",
            "12",
            "nan",
            "it's",
            "a, b",
            "",
            "-x",
            "C:\\x",
            "back\\",
            "\\'",
        ],
        "numbers": [True, None, 1000.0, 12, -0.5],
        "deep": {"list": [1, {"key": "x y"}]},
    }
    cfg = composed()
    config: Any = OmegaConf.to_container(cfg)
    config["env"]["kwargs"] = arguments_
    config["env"]["wrappers"] = [{"name": "TimeLimit", "max_episode_steps": 7}, "Flatten"]
    part = {"kernel": "naive", "versions": {}, "hardware": {}, "git": None}
    remade, _ = remake(Recorded(tmp_path, config, "", [part]), tmp_path / "again")
    assert OmegaConf.to_container(remade.env) == config["env"]


@pytest.mark.parametrize("wrappers", [slow_case(NORMALISE), slow_case(STACK)])
def test_a_resumed_run_is_the_same(wrappers: str, tmp_path: Path) -> None:
    settings = ["env=pendulum", wrappers, "checkpoint.every=40", "env.kwargs={g: 9.0}"]
    settings[-1] = f"++{settings[-1]}"
    crash_at(78, tmp_path / "interrupted", *settings)
    for name in ("one", "interrupted"):
        assert train(tmp_path / name, *settings) == 0
    assert_same_run(*(folder_of(tmp_path / name, *settings) for name in ("one", "interrupted")))
