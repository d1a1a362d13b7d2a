"""Making environments, and what cannot be made."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from snnrl.envs import make_env
from snnrl.errors import UserError


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


@pytest.mark.parametrize(
    ("env_id", "observation", "words"),
    [
        ("ALE/Pong-v5", "default", "env.observation=default: env.id=ALE/Pong-v5 is an Atari game;"),
        ("CartPole-v1", "ram", "env.observation=ram: only Atari games"),
        ("MinAtar/Breakout-v1", "pixels", "env.observation=pixels: only Atari games"),
        ("ALE/Pong-v5", "pixel", "env.observation=pixel: expected one of default, ram, pixels;"),
        ("ALE/Pongg-v5", "ram", "env.id=ALE/Pongg-v5: no such environment; did you mean 'ALE/Pong"),
        ("ALE/Pong", "ram", "did you mean 'ALE/Pong-v5'?"),
        ("Pong-v5", "default", "env.id=Pong-v5: no such environment; did you mean 'ALE/Pong-v5'?"),
        ("ale_py:ALE/Pong-v5", "default", "expected ALE/<Game>-v5; did you mean 'ALE/Pong-v5'?"),
        ("ale_py:Pong-v4", "default", "did you mean 'ALE/Pong-v5'?"),
        ("PongNoFrameskip-v4", "default", "did you mean 'ALE/Pong-v5'?"),
        ("MinAtar/Brekout-v1", "default", "did you mean 'MinAtar/Breakout-v1'?"),
        ("MinAtar/Breakout-v2", "default", "did you mean 'MinAtar/Breakout-v1'?"),
    ],
)
def test_a_game_that_is_not_there(env_id: str, observation: str, words: str) -> None:
    with pytest.raises(UserError) as raised:
        make_env(env_id, observation)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "env_id", "observation", "needs"),
    [
        ("ale_py", "ALE/Pong-v5", "ram", "needs ale-py; pip install 'snnrl[atari]'"),
        (
            "cv2",
            "ALE/Pong-v5",
            "pixels",
            "needs opencv-python-headless; pip install 'snnrl[atari]'",
        ),
        (
            "minatar",
            "MinAtar/Breakout-v1",
            "default",
            "needs MinAtar; pip install 'snnrl[minatar]'",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str, env_id: str, observation: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as raised:
        make_env(env_id, observation)
    assert str(raised.value) == f"env.id={env_id}: {needs}"


def test_a_wrong_id_without_ale_py_has_its_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(UserError, match="did you mean 'CartPole-v1'"):
        make_env("CartPol-v1")


def test_games_are_loaded_only_when_asked_for() -> None:
    code = "import sys, snnrl.envs; print({'ale_py', 'cv2', 'minatar'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("env_id", "observation"),
    [
        ("HalfCheetah-v4", "default"),
        ("ALE/Pong-v5", "ram"),
        ("ALE/Pong-v5", "pixels"),
        ("MinAtar/Breakout-v1", "default"),
    ],
)
def test_making_and_starting_is_silent(
    env_id: str,
    observation: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_env(env_id, observation)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
