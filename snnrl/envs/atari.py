"""Atari 2600 games of the Arcade Learning Environment, observed as RAM or as pixels."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

import gymnasium
from gymnasium import error
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

NAMESPACE = "ALE/"

OBSERVATIONS = ("ram", "pixels")


def make_game(env_id: str, observation: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """Make a game with raw rewards and the rules of ``-v5``: an action lasts four frames, each
    frame repeats the previous action with probability 0.25, and an episode is truncated after
    108,000 frames.

    Preprocessing of pixels is standard (Machado et al. 2018, https://doi.org/10.1613/jair.5699): 1
    to 30 initial frames without action, the maximum of the last two of four frames, greyscale, 84 x
    84, a stack of four. Losing a life does not end the episode.

    :param env_id: such as ``ALE/Pong-v5``
    :param observation: ``ram``, the console's memory as uint8 ``[128]``, or ``pixels``, uint8
        ``[4, 84, 84]``
    :param options: those of ``ale_py.AtariEnv``, such as ``render_mode``
    :raises gymnasium.error.DependencyNotInstalled: a package of the extra ``atari`` is missing
    :raises gymnasium.error.Error: there is no such game
    """
    _require("ale_py", "ale-py")
    spec = replace(gymnasium.spec(env_id), entry_point="snnrl.envs.atari_game:AtariGame")
    if observation == "ram":
        return gymnasium.make(spec, obs_type="ram", **options)
    _require("cv2", "opencv-python-headless")
    frames = gymnasium.make(spec, obs_type="grayscale", **{**options, "frameskip": 1})
    return FrameStackObservation(AtariPreprocessing(frames, noop_max=30, frame_skip=4), 4)


def register() -> None:
    """Register the games with gymnasium, if ale-py is installed."""
    with suppress(ImportError):
        import_module("ale_py")


def _require(module: str, package: str) -> None:
    try:
        import_module(module)
    except ImportError as missing:
        raise error.DependencyNotInstalled(
            f"needs {package}; pip install 'snnrl[atari]'"
        ) from missing
