"""From a gymnasium id to an environment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import gymnasium
import mujoco
from gymnasium import error

from snnrl.envs import atari, minatar
from snnrl.envs.checked import Checked
from snnrl.errors import UserError, expect, nearest

OBSERVATIONS = ("default", *atari.OBSERVATIONS)

minatar.register()


def make_env(env_id: str, observation: str = "default", **options: Any) -> gymnasium.Env[Any, Any]:
    """Make a registered environment, :class:`Checked`.

    :param env_id: gymnasium id, such as ``HalfCheetah-v4``, ``ALE/Pong-v5``,
        ``MinAtar/Breakout-v1``
    :param observation: ``default`` is the environment's own; Atari games (``ALE/...``) need ``ram``
        or ``pixels``, see :func:`snnrl.envs.atari.make_game`
    :param options: handed to ``gymnasium.make``, such as ``render_mode``
    :raises UserError: there is no such environment, it lacks a package, or it has no such
        observation
    """
    expect("env.observation", observation, OBSERVATIONS)
    is_game = env_id.startswith(atari.NAMESPACE)
    if is_game and observation == "default":
        raise UserError(
            f"env.observation=default: env.id={env_id} is an Atari game; expected ram or pixels"
        )
    if not is_game and observation != "default":
        raise UserError(
            f"env.observation={observation}: only Atari games ({atari.NAMESPACE}...) have it, and "
            f"env.id={env_id} is none; expected default"
        )
    with warnings.catch_warnings(), _silent_mujoco(), _user_errors(env_id):
        # The published results are on -v4, which gymnasium calls out of date at every make.
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        if is_game:
            return Checked(atari.make_game(env_id, observation, **options), env_id)
        _refuse_game(env_id)
        return Checked(gymnasium.make(env_id, **options), env_id)


def _refuse_game(env_id: str) -> None:
    """``ale_py:ALE/Pong-v5`` and old ids make games that :mod:`snnrl.envs.atari` does not know."""
    module, _, name = env_id.rpartition(":")
    if module:
        # As gymnasium will; it may register games.
        import_module(module)
    spec = gymnasium.registry.get(name)
    if spec is not None and "ale_py" in str(spec.entry_point):
        game = str(spec.kwargs.get("game", "")).title().replace("_", "")
        raise UserError(
            f"env.id={env_id}: is an Atari game under another name; expected "
            f"{atari.NAMESPACE}<Game>-v5{nearest(f'{atari.NAMESPACE}{game}-v5', _known_ids())}"
        )


@contextmanager
def _user_errors(env_id: str) -> Iterator[None]:
    try:
        yield
    except error.DependencyNotInstalled as missing:
        reason = str(missing).split("\n")[0]
        raise UserError(f"env.id={env_id}: {reason}") from missing
    except ImportError as missing:
        # "package:id" whose package is not there, and versions that left gymnasium.
        reason = str(missing).split("\n")[0]
        raise UserError(f"env.id={env_id}: cannot be imported ({reason})") from missing
    except error.Error as unknown:
        raise UserError(
            f"env.id={env_id}: no such environment{nearest(env_id, _known_ids())}"
        ) from unknown


def _known_ids() -> list[str]:
    """Every id; of Atari's only those that :func:`make_env` preprocesses."""
    atari.register()
    return [
        spec.id
        for spec in gymnasium.registry.values()
        if spec.id.startswith(atari.NAMESPACE) or "ale_py" not in str(spec.entry_point)
    ]


@contextmanager
def _silent_mujoco() -> Iterator[None]:
    """Without it MuJoCo prints that Gymnasium's models use old attributes, at every make, and
    leaves MUJOCO_LOG.TXT in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
