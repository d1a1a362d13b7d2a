"""From a gymnasium id to an environment."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import mujoco
from gymnasium import error

from snnrl.errors import UserError, nearest


def make_env(env_id: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """Make a registered environment.

    :param env_id: gymnasium id, such as ``HalfCheetah-v4``
    :param options: handed to ``gymnasium.make``, such as ``render_mode``
    :raises UserError: there is no such environment, or it lacks a package
    """
    with warnings.catch_warnings(), _silent_mujoco():
        # The published results are on -v4, which gymnasium calls out of date at every make.
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        try:
            return gymnasium.make(env_id, **options)
        except error.DependencyNotInstalled as missing:
            reason = str(missing).split("\n")[0]
            raise UserError(f"env.id={env_id}: {reason}") from missing
        except ImportError as missing:
            # "package:id" whose package is not there, and versions that left gymnasium.
            reason = str(missing).split("\n")[0]
            raise UserError(f"env.id={env_id}: cannot be imported ({reason})") from missing
        except error.Error as unknown:
            known = list(gymnasium.registry)
            raise UserError(
                f"env.id={env_id}: no such environment{nearest(env_id, known)}"
            ) from unknown


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
