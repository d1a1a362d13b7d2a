"""Whether algorithm and network fit the environment's spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from omegaconf import DictConfig
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)

from snnrl.envs import make_env
from snnrl.errors import UserError
from snnrl.experiment.choices import spiking_parts
from snnrl.nn.convolution import convolved_shapes

ACTIONS: dict[str, tuple[type[spaces.Space[Any]], ...]] = {
    "td3": (spaces.Box,),
    "ddpg": (spaces.Box,),
    "sac": (spaces.Box,),
    "dqn": (spaces.Discrete,),
    "ppo": (spaces.Box, spaces.Discrete),
}
"""Kinds of actions that an algorithm can choose."""

READS_IMAGES = ("dqn", "ppo")


def check_environment(cfg: DictConfig) -> None:
    """Make the environment and compare its spaces with the rest of the configuration.

    :raises UserError: there is no such environment, or something does not fit it
    """
    env = make_env(cfg.env.id, cfg.env.observation)
    try:
        _check_actions(cfg, env.action_space)
        _check_observations(cfg, env.observation_space)
    finally:
        env.close()


def image_shape(space: spaces.Box) -> tuple[int, ...]:
    """Shape ``(C, H, W)`` in which the agent sees the images of a space."""
    if is_image_space_channels_first(space):
        return space.shape
    height, width, channels = space.shape
    return channels, height, width


def _check_actions(cfg: DictConfig, space: spaces.Space[Any]) -> None:
    kinds = ACTIONS[cfg.algo.name]
    if not isinstance(space, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        fitting = [name for name, taken in ACTIONS.items() if isinstance(space, taken)]
        instead = f", or algo={' or algo='.join(fitting)}" if fitting else ""
        example = "pendulum" if spaces.Box in kinds else "cartpole"
        raise UserError(
            f"algo={cfg.algo.name}: chooses {names} actions, and env.id={cfg.env.id} takes "
            f"{space}; expected an environment with {names} actions, such as env={example}{instead}"
        )
    if isinstance(space, spaces.Box):
        if not np.issubdtype(space.dtype, np.floating) or not space.shape or 0 in space.shape:
            raise UserError(
                f"env.id={cfg.env.id}: takes {space}; expected an environment whose actions are "
                "floating-point numbers, at least one"
            )
        if not (np.isfinite(space.low) & np.isfinite(space.high)).all():
            raise UserError(
                f"env.id={cfg.env.id}: its actions have no bounds; expected an environment whose "
                "action space is finite"
            )
    elif isinstance(space, spaces.Discrete) and space.start != 0:
        raise UserError(
            f"env.id={cfg.env.id}: its actions count from {space.start}; expected an environment "
            "whose actions count from 0"
        )


def _check_observations(cfg: DictConfig, space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box) or len(space.shape) not in (1, 3):
        raise UserError(
            f"env.id={cfg.env.id}: observes {space}; expected one-dimensional Box observations, or "
            "images"
        )
    if len(space.shape) == 1:
        if cfg.conv.name != "none":
            raise UserError(
                f"conv={cfg.conv.name}: takes images, and env.id={cfg.env.id} observes a vector of "
                f"{space.shape[0]} numbers; expected conv=none"
            )
        return
    _check_images(cfg, space)


def _check_images(cfg: DictConfig, space: spaces.Box) -> None:
    if cfg.algo.name not in READS_IMAGES:
        raise UserError(
            f"algo={cfg.algo.name}: takes a vector of numbers, and env.id={cfg.env.id} observes "
            f"images {space.shape}; expected algo={' or algo='.join(READS_IMAGES)}"
        )
    if space.dtype != np.uint8:
        raise UserError(f"env.id={cfg.env.id}: observes {space}; expected images of bytes (uint8)")
    if not (is_image_space_channels_first(space) or is_image_space(space)):
        # SB3 would leave them as they are, and convolve along the wrong axes.
        raise UserError(
            f"env.id={cfg.env.id}: observes {space}, whose channels come last and whose bounds are "
            "not 0 and 255; expected those bounds, or channels that come first"
        )
    if cfg.conv.name == "none":
        raise UserError(
            f"conv=none: env.id={cfg.env.id} observes images {space.shape}; expected conv=nature "
            "or conv=minatar"
        )
    if cfg.encoder.name == "population" and spiking_parts(cfg):
        raise UserError(
            f"encoder=population: takes a vector of numbers, and env.id={cfg.env.id} observes "
            f"images {space.shape}; expected encoder=direct"
        )
    convolved_shapes(image_shape(space), cfg.conv.channels, cfg.conv.kernels, cfg.conv.strides)
