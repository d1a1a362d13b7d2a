"""Check that algorithm and network fit the environment's spaces."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from omegaconf import DictConfig
from stable_baselines3.common.preprocessing import (
    is_image_space,
    is_image_space_channels_first,
)

from snnrl.agents import AGENTS
from snnrl.envs import action_problem, blame, make_env, observation_problem
from snnrl.envs.blame import place_of_method
from snnrl.errors import UserError
from snnrl.experiment.config.choices import (
    agent_class,
    convolutions,
    environment_arguments,
    normalisations,
    on_policy,
    readout,
    spiking_parts,
    strategy_arguments,
)
from snnrl.experiment.episode_starts import AdditiveStarts, EpisodeStarts
from snnrl.nn.convolution import convolved_shapes
from snnrl.nn.encoders import encoders_of_images, shape_of_step, takes_time
from snnrl.nn.norm import make_strategy
from snnrl.nn.shape import LayerShape
from snnrl.run_format.settings import CAME_LATER
from snnrl.seeds import own_global_generators


def check_environment(cfg: DictConfig) -> None:
    """Make the environment, check its spaces against the rest of the configuration, and try a step.

    :raises UserError: there is no such environment, it does not work, or something does not fit it
    """
    env = make_env(**environment_arguments(cfg.env))
    try:
        _check_actions(cfg, env.action_space)
        _check_observations(cfg, env.observation_space)
        check_widths(cfg, env.action_space)
        _try(cfg, env)
    except UserError:
        with suppress(Exception):  # The first error counts.
            env.close()
        raise
    with blame(f"env.id={cfg.env.id}: close() fails"):
        env.close()


def _try(cfg: DictConfig, env: gymnasium.Env[Any, Any]) -> None:
    """Start an episode and make a step; the global generators are left unchanged."""
    key = f"env.id={cfg.env.id}"
    additive = cfg.get("seeding", CAME_LATER["seeding"]) == "additive"
    starts = AdditiveStarts if additive else EpisodeStarts
    env.action_space.seed(cfg.seed)
    with own_global_generators(cfg.seed), warnings.catch_warnings():
        # The training environments will show these warnings again.
        warnings.simplefilter("ignore")
        with blame(f"{key}: reset() fails", or_else=lambda: place_of_method(env, "reset")):
            starts(cfg.seed).begin(env, 0)
        action = env.action_space.sample()
        with blame(f"{key}: step() fails", or_else=lambda: place_of_method(env, "step")):
            env.step(action)


def image_shape(space: spaces.Box) -> tuple[int, ...]:
    """Return the shape ``(C, H, W)`` in which the agent sees the images of a space."""
    if is_image_space_channels_first(space):
        return space.shape
    height, width, channels = space.shape
    return channels, height, width


def _shown(space: spaces.Space[Any]) -> str:
    """Return a space as one line: a large one has many bounds."""
    text = " ".join(str(space).split())
    return text if len(text) <= 100 else f"{type(space).__name__} of shape {space.shape}"


def _check_actions(cfg: DictConfig, space: spaces.Space[Any]) -> None:
    kinds = agent_class(cfg).action_spaces
    if not isinstance(space, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        fitting = [name for name, a in AGENTS.items() if isinstance(space, a.action_spaces)]
        instead = f", or algo={' or algo='.join(fitting)}" if fitting else ""
        example = "pendulum" if spaces.Box in kinds else "cartpole"
        raise UserError(
            f"algo={cfg.algo.name}: chooses {names} actions, and env.id={cfg.env.id} takes "
            f"{_shown(space)}; expected an environment with {names} actions, such as "
            f"env={example}{instead}"
        )
    if isinstance(space, spaces.Box):
        if not np.issubdtype(space.dtype, np.floating) or not space.shape or 0 in space.shape:
            raise UserError(
                f"env.id={cfg.env.id}: takes {_shown(space)}; expected an environment whose "
                "actions are floating-point numbers, at least one"
            )
        if (problem := action_problem(space)) is not None:
            raise UserError(f"env.id={cfg.env.id}: {problem}")
    elif isinstance(space, spaces.Discrete) and space.start != 0:
        raise UserError(
            f"env.id={cfg.env.id}: its actions count from {space.start}; expected an environment "
            "whose actions count from 0"
        )


def _check_observations(cfg: DictConfig, space: spaces.Space[Any]) -> None:
    framed = bool(spiking_parts(cfg)) and takes_time(cfg.encoder.name)
    if framed and isinstance(space, spaces.Box):
        for part in spiking_parts(cfg).values():
            shape_of_step(cfg.encoder.name, space.shape, part.time_steps)
    elif not isinstance(space, spaces.Box) or len(space.shape) not in (1, 3):
        raise UserError(
            f"env.id={cfg.env.id}: observes {_shown(space)}; expected one-dimensional Box "
            "observations, which env.wrappers=[FlattenObservation] makes, or images"
        )
    if (problem := observation_problem(space)) is not None:
        raise UserError(f"env.id={cfg.env.id}: {problem}")
    if not on_policy(cfg) and cfg.algo.get("normalize_observations", False):
        _check_normalised(cfg, space)
    if len(space.shape) == 1:
        if cfg.conv.name != "none":
            raise UserError(
                f"conv={cfg.conv.name}: takes images, and env.id={cfg.env.id} observes a vector of "
                f"{space.shape[0]} numbers; expected conv=none"
            )
        return
    _check_reader(cfg, space)
    if framed:
        _check_frames(cfg, space)
    else:
        _check_images(cfg, space)


def _check_normalised(cfg: DictConfig, space: spaces.Box) -> None:
    if not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"algo.normalize_observations=true: env.id={cfg.env.id} observes {_shown(space)}, and "
            "integers are not normalised; expected algo.normalize_observations=false, or an "
            "environment that observes floating-point numbers"
        )


def check_widths(cfg: DictConfig, actions: Any) -> None:
    """Make a normalisation of each width that layers will have.

    :param actions: a ``Box`` or ``Discrete``
    :raises UserError: it does not fit one
    """
    images = cfg.conv.channels if cfg.conv.name != "none" else []
    for key, bn in normalisations(cfg).items():
        part = cfg.critic if key == "critic.bn" else cfg.actor
        spikes = part.name == "spiking"
        time_steps = part.time_steps if spikes else 1
        strategy = make_strategy(strategy_arguments(bn))
        widths = [*part.hidden]
        if spikes and key == "bn" and readout(cfg) != "linear":
            outputs = np.prod(actions.shape) if isinstance(actions, spaces.Box) else actions.n
            widths.append(int(outputs) * cfg.actor.population)
        for width, is_image in [*((w, True) for w in images), *((w, False) for w in widths)]:
            try:
                strategy.make(LayerShape(width, time_steps, is_image), threshold=1.0)
            except UserError as error:
                raise UserError(str(error).replace("bn.", f"{key}.", 1)) from None


def _check_reader(cfg: DictConfig, space: spaces.Box) -> None:
    if not agent_class(cfg).reads_images:
        fitting = [name for name, agent in AGENTS.items() if agent.reads_images]
        raise UserError(
            f"algo={cfg.algo.name}: takes a vector of numbers, and env.id={cfg.env.id} observes "
            f"images {space.shape}; expected algo={' or algo='.join(fitting)}"
        )


def _check_frames(cfg: DictConfig, space: spaces.Box) -> None:
    if cfg.algo.get("common_mode", False):
        raise UserError(
            f"algo.common_mode=true: reads vectors and images, and env.id={cfg.env.id} observes "
            f"frames {space.shape}; expected algo.common_mode=false"
        )
    if cfg.conv.name == "none":
        return
    for part in ("actor", "critic"):
        if cfg[part].name == "ann":
            raise UserError(
                f"conv={cfg.conv.name}: the ordinary {part} convolves images, and env.id="
                f"{cfg.env.id} observes frames {space.shape}; expected conv=none, or "
                f"{part}=spiking"
            )
    convolved_shapes(space.shape[1:], **convolutions(cfg.conv))


def _check_images(cfg: DictConfig, space: spaces.Box) -> None:
    if space.dtype != np.uint8:
        raise UserError(
            f"env.id={cfg.env.id}: observes {_shown(space)}; expected images of bytes (uint8)"
        )
    if not (is_image_space_channels_first(space) or is_image_space(space)):
        # SB3 would leave them unchanged and convolve along the wrong axes.
        raise UserError(
            f"env.id={cfg.env.id}: observes {_shown(space)}, whose channels come last and whose "
            "bounds are not 0 and 255; expected those bounds, or channels that come first"
        )
    if cfg.conv.name == "none":
        raise UserError(
            f"conv=none: env.id={cfg.env.id} observes images {space.shape}; expected conv=nature "
            "or conv=minatar"
        )
    fitting = encoders_of_images()
    if cfg.encoder.name not in fitting and spiking_parts(cfg):
        raise UserError(
            f"encoder={cfg.encoder.name}: takes a vector of numbers, and env.id={cfg.env.id} "
            f"observes images {space.shape}; expected encoder={' or encoder='.join(fitting)}"
        )
    convolved_shapes(image_shape(space), **convolutions(cfg.conv))
