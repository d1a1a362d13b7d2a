"""Video of an agent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from gymnasium import error
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.preprocessing import maybe_transpose

from snnrl.agents.base import SpikingAgent
from snnrl.errors import UserError
from snnrl.experiment.builder import build_environment
from snnrl.experiment.episode_starts import EpisodeStarts
from snnrl.run_format.names import VIDEO

DEFAULT_FPS = 30


def record_episode(
    agent: SpikingAgent, cfg: DictConfig, path: Path, starts: EpisodeStarts
) -> float:
    """Play one episode of the deterministic policy and write it as an mp4 file.

    Without a display MuJoCo renders through EGL (``MUJOCO_GL=egl`` unless set otherwise).

    :param cfg: the run's configuration
    :param path: the file; it appears only when complete
    :param starts: this episode starts like the first of these
    :return: the episode's return
    :raises UserError: a package or a library for rendering is missing
    """
    prepare_display()
    imageio = video_writer("--video")
    env = build_environment(cfg, render_mode="rgb_array")
    unfinished = path.with_name(f".{path.name}.tmp.mp4")
    total = 0.0
    try:
        # The path may be a link to a file elsewhere, which would be overwritten.
        unfinished.unlink(missing_ok=True)
        observation, _ = starts.begin(env, 0)
        fps = env.metadata.get("render_fps", DEFAULT_FPS)
        first = frame_of(env, "--video")
        limit, steps = OmegaConf.select(cfg, "evaluation.max_episode_steps"), 0
        with imageio.get_writer(unfinished, fps=fps, macro_block_size=2) as film:
            film.append_data(first)
            done = False
            while not done:
                shown = agent.normalize(maybe_transpose(observation, agent.observation_space))
                action, _ = agent.predict(shown, deterministic=True)
                observation, reward, terminated, truncated, _ = env.step(action)
                total, steps = total + float(reward), steps + 1
                film.append_data(frame_of(env, "--video"))
                done = terminated or truncated or steps == limit
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
        env.close()
    return total


def prepare_display() -> None:
    """Let environments draw without a display: MuJoCo through EGL, pygame into memory.

    What the environment variables say already stays.
    """
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")


def video_writer(option: str) -> Any:
    """Return the package that writes mp4 files, ``imageio.v2``.

    :param option: that asked for it, for the error
    :raises UserError: it is missing, or what it needs
    """
    try:
        imageio, _ = import_module("imageio.v2"), import_module("imageio_ffmpeg")
    except ImportError as missing:
        raise UserError(f"{option}: needs {missing.name}; pip install 'snnrl[video]'") from None
    return imageio


def frame_of(env: Any, option: str, instead: str = "") -> np.ndarray:
    """Return a picture of an environment, bytes ``[H, W, 3]``.

    :param option: that asked for it, for the error
    :param instead: what works without, for the error
    :raises UserError: a package or a library for rendering is missing, or it is no such picture
    """
    try:
        frame = env.render()
    except (ImportError, AttributeError, RuntimeError, OSError, error.Error) as problem:
        reason = str(problem).split("\n")[0]
        raise UserError(
            f"{option}: cannot render here ({reason}); MuJoCo needs libEGL without a display "
            f"(Debian: apt-get install libegl1 libgl1){instead}"
        ) from problem
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape[2:] != (3,):
        raise UserError(
            f"{option}: render() returned {type(frame).__name__}; expected a picture of uint8 "
            f"[H, W, 3]{instead}"
        )
    return frame


def mp4(pictures: Iterable[np.ndarray], fps: float, option: str) -> bytes:
    """Return a film as an mp4 file.

    :param pictures: bytes ``[H, W, 3]``
    :param fps: pictures a second
    :param option: that asked for it, for the error
    :raises UserError: a package is missing
    """
    imageio = video_writer(option)
    with TemporaryDirectory() as folder:
        path = Path(folder) / VIDEO
        with imageio.get_writer(path, fps=fps, macro_block_size=2) as film:
            for picture in pictures:
                film.append_data(picture)
        return path.read_bytes()
