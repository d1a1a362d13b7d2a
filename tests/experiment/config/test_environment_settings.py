"""Arguments of an environment and wrappers around it, as settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

from snnrl.analysis.shown_config import shown_config
from snnrl.envs import Stateful, make_env
from snnrl.errors import UserError
from snnrl.experiment.builder import build_environment, build_training_env
from snnrl.experiment.config.check_spaces import check_environment
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.label import label, settings_hash
from snnrl.experiment.config.overrides import check_overrides, expand
from snnrl.experiment.config.validate import validate
from snnrl.experiment.config.written import check_round_trip
from snnrl.experiment.folder.run_folder import RunFolder
from snnrl.experiment.reproduction.remake import Recorded, read_record, remake
from snnrl.run_format.config import LONGEST_VALUE, read_config
from snnrl.run_format.documents import read_mapping
from tests.experiment.helpers import arguments, assert_same_run, folder_of, slow_case, train
from tests.experiment.stopped import crash_at

STACK = "env.wrappers=[{name: FrameStackObservation, stack_size: 4},FlattenObservation]"
TIME = "env.wrappers=[TimeAwareObservation]"
HERE = "tests.experiment.config.test_environment_settings"


class Counting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Adds what it has been given to each reward, and counts steps over episodes."""

    def __init__(self, env: gymnasium.Env[Any, Any], bonus: float = 1.0):
        super().__init__(env)
        self.bonus, self.steps = bonus, 0

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        self.steps += 1
        return observation, float(reward) * 0 + self.bonus * self.steps, *rest


class Centred(gymnasium.wrappers.NormalizeObservation[Any, Any, Any]):
    """Statistics under another name."""


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
    settings = [["env.kwargs.g=9.8"], ["env.kwargs.g=1.6"], [STACK], [TIME], []]
    assert len({settings_hash(composed(*each)) for each in settings}) == len(settings)
    assert "env.kwargs.g=9.8" in label(composed("env.kwargs.g=9.8"))


@pytest.mark.quick_cases(1)
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
    wrapped = composed(f"env.wrappers=[{{name: {HERE}:Counting}}]")
    env = build_environment(wrapped)
    env.reset(seed=0)
    assert [env.step(np.zeros(1, np.float32))[1] for _ in range(3)] == [1, 2, 3]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("env.kwargs.gg=1", "cannot be made (TypeError: PendulumEnv.__init__() got an unexpected "
         "keyword argument 'gg', pendulum.py:16); did you mean 'env.kwargs.g'?"),
        ("env.kwargs=3", "env.kwargs: "),
        ("env.wrappers=FlattenObservation", "env.wrappers: expected a list, such as [Flatten"),
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
        ("env.wrappers=[{name: 'gymnasium.wrappers:RecordVideo', video_folder: x}]",
         "env.wrappers[0]: gymnasium.wrappers:RecordVideo, a RecordVideo, writes files in every"),
        ("env.wrappers=[{name: 'gymnasium.wrappers.rendering:RecordVideo', video_folder: x}]",
         "a RecordVideo, writes files in every"),
        ("env.wrappers=[NormalizeObservation]", "env.wrappers[0]: NormalizeObservation keeps "
         "running statistics, which evaluations would not have; expected a wrapper without them, "
         "algo.normalize_observations=true, or from Python VecNormalize for PPO and "
         "ObservationNormalizer for the others (docs/architecture.md)"),
        ("env.wrappers=[FlattenObservation,NormalizeReward]", "env.wrappers[1]: NormalizeReward "
         "keeps running statistics, which evaluations would not have; expected a wrapper without "
         "them, or VecNormalize from Python (docs/architecture.md)"),
        (f"env.wrappers=[{HERE}:Centred]", f"env.wrappers[0]: {HERE}:Centred, a "
         "NormalizeObservation, keeps running statistics"),
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
    words = r"'track', own_envs\.py:\d+\); expected env\.kwargs\.track=\.\.\.$"
    with pytest.raises(UserError, match=words):
        make_env("tests.own_envs:Own/Needy-v0")
    make_env("tests.own_envs:Own/Needy-v0", kwargs={"track": "spa"})


def test_what_wrappers_keep_is_in_the_state() -> None:
    wrappers: list[Any] = [
        {"name": "FrameStackObservation", "stack_size": 3},
        {"name": f"{__name__}:Counting"},
    ]
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
    part: dict[str, Any] = {"kernel": "naive", "versions": {}, "hardware": {}, "git": None}
    remade, _ = remake(Recorded(tmp_path, config, "", [part]), tmp_path / "again")
    assert OmegaConf.to_container(remade.env) == config["env"]


@pytest.mark.parametrize("wrappers", [slow_case(TIME), slow_case(STACK)])
def test_a_resumed_run_is_the_same(wrappers: str, tmp_path: Path) -> None:
    settings = ["env=pendulum", wrappers, "checkpoint.every=40", "env.kwargs={g: 9.0}"]
    settings[-1] = f"++{settings[-1]}"
    crash_at(78, tmp_path / "interrupted", *settings)
    for name in ("one", "interrupted"):
        assert train(tmp_path / name, *settings) == 0
    assert_same_run(*(folder_of(tmp_path / name, *settings) for name in ("one", "interrupted")))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "given",
    [
        "env.kwargs={}",
        "env.kwargs.a={}",
        "env.kwargs={a: {}, b: {c: {}, d: []}}",
        "env.kwargs.frame-skip=1",
        "env.kwargs.a.b={}",
        "env.kwargs={a.b: 1, a: {b: 2}}",
        "env.kwargs={name: x, deep: {name: y}}",
        "env.kwargs={a b: 1, a\\:b: 'x: y'}",
        "env.kwargs={a: nan, b: -inf, c: 1e-5, d: 1.0, e: 1, f: true, g: null, h: 'null'}",
        "env.kwargs={a: '1e3', b: '2020-01-01', c: '=', d: '<<', e: '~', f: '0o7', g: '1_0'}",
        "env.kwargs={a: [], b: [[]], c: [{}], d: [[{e: {}}]]}",
        f"env.kwargs.desc=[{','.join(['SFHG' * 16] * 64)}]",
        "env.wrappers=[{name: x, a: {}}, y, {name: z, b: [{}], c-d: 1}]",
    ],
)
def test_a_run_that_is_made_again_has_the_same(given: str, tmp_path: Path) -> None:
    cfg = composed(given)
    check_round_trip(cfg)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    config = read_config(tmp_path)
    again, _ = remake(Recorded(tmp_path, config, "", [{}]), tmp_path / "again")
    assert repr(OmegaConf.to_container(again.env)) == repr(OmegaConf.to_container(cfg.env))
    assert settings_hash(again) == settings_hash(cfg)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("env.kwargs={a: {0: 1.5}}", "env.kwargs: key 0: expected a string"),
        ("env.kwargs={a: {true: 1}}", "env.kwargs: key True: expected a string"),
        ("env.wrappers=[{name: x, a: {1: 2}}]", "env.wrappers: key 1: expected a string"),
        ("env.kwargs.a.1=2", "a command line cannot express it; expected keys that begin with"),
        (f"env.kwargs={'{a: ' * 21}1{'}' * 21}", "env.kwargs: nested too deeply; expected at most"),
        (f"env.kwargs={'{a: ' * 19}1{'}' * 19}", "config.yaml: nested too deeply; expected at"),
        ("env.kwargs.a='\\${oc.env:HOME}'", "expected a value, without '${'"),
    ],
)  # fmt: skip
def test_what_would_not_come_back_is_refused_before_training(given: str, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        validate(composed("total_steps=1000", "algo.learning_starts=100", given))
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_arguments_that_are_too_large_to_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnrl.experiment.config.written.LARGEST_ARGUMENTS", 100)
    check_round_trip(composed(f"env.kwargs.a={'x' * 96}"))
    with pytest.raises(UserError, match=r"^env\.kwargs: has 101 bytes; expected at most 100$"):
        check_round_trip(composed(f"env.kwargs.a={'x' * 97}"))


def test_long_arguments_are_cut_where_they_are_shown(tmp_path: Path) -> None:
    """A digest tells two of them apart; a run's other settings are as short as ever."""
    shown = []
    for last in "HG":
        rows = [*["F" * 64] * 63, "F" * 63 + last]
        cfg = composed(f"env.kwargs.desc=[{','.join(rows)}]")
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
        config = read_config(tmp_path)
        assert config["env"]["kwargs"]["desc"] == rows
        shown.append(shown_config(config)["env"]["kwargs"]["desc"])
        assert config == read_mapping(tmp_path / "config.yaml")
    assert shown[0] != shown[1]
    assert all(len(text) < 100 for text in shown)
    assert shown_config(config | {"env": {"kwargs": {"a": {}}}})["env"] == {"kwargs": {"a": {}}}
    config["algo"]["name"] = "x" * (LONGEST_VALUE + 1)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    with pytest.raises(UserError, match=r"algo\.name has 4,097 characters"):
        read_config(tmp_path)
