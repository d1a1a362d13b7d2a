"""Construction of an environment from a gymnasium id."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import gymnasium
import mujoco
from gymnasium import error
from gymnasium.envs.registration import load_env_creator

from snnrl.envs import atari, minatar
from snnrl.envs.blame import blame, in_words, place_of
from snnrl.envs.bounds import missing_space
from snnrl.envs.checked import Checked
from snnrl.envs.ids import known_ids, nearest_id
from snnrl.envs.wrap import Wrap, wrap
from snnrl.errors import UserError, expect, nearest

OBSERVATIONS = ("default", *atari.OBSERVATIONS)

minatar.register()


def make_env(
    env_id: str,
    observation: str = "default",
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrap] = (),
    **options: Any,
) -> gymnasium.Env[Any, Any]:
    """Make a registered environment, :class:`Checked`.

    :param env_id: gymnasium id, such as ``HalfCheetah-v4``, ``ALE/Pong-v5``,
        ``MinAtar/Breakout-v1``
    :param observation: ``default`` is the environment's own observation; Atari games (``ALE/...``)
        need ``ram`` or ``pixels``, see :func:`snnrl.envs.atari.make_game`
    :param kwargs: passed to ``gymnasium.make``, including the environment's arguments
    :param wrappers: wrappers around the environment, see :func:`snnrl.envs.wrap.wrap`
    :param options: passed on before ``kwargs``, such as ``render_mode``
    :raises UserError: there is no such environment, it lacks a package, has no such observation, or
        cannot be made
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
            f"env.id={env_id} is not one; expected default"
        )
    with warnings.catch_warnings(), _silent_mujoco(), _user_errors(env_id):
        # The published results are on -v4, for which gymnasium warns at every make.
        warnings.filterwarnings("ignore", message=".*is out of date", category=DeprecationWarning)
        arguments = {**(kwargs or {}), **options}
        if is_game:
            env = atari.make_game(env_id, observation, **arguments)
        else:
            _import_module_of(env_id)
            _refuse_game(env_id)
            env = _with_spaces(gymnasium.make(env_id, **arguments), env_id)
        return Checked(_with_spaces(wrap(env, wrappers), env_id), env_id)


def _import_module_of(env_id: str) -> None:
    """Import the module of ``module:id``, as gymnasium will; it may register games."""
    module, colon, _ = env_id.rpartition(":")
    if colon:
        with blame(f"env.id={env_id}: {module} cannot be imported", but=(ImportError,)):
            import_module(module)


def _with_spaces(env: gymnasium.Env[Any, Any], env_id: str) -> gymnasium.Env[Any, Any]:
    if (missing := missing_space(env)) is not None:
        raise UserError(f"env.id={env_id}: {missing}")
    return env


def _refuse_game(env_id: str) -> None:
    """Refuse ``ale_py:ALE/Pong-v5`` and old ids, whose games :mod:`snnrl.envs.atari` does not
    know."""
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    if spec is not None and "ale_py" in str(spec.entry_point):
        game = str(spec.kwargs.get("game", "")).title().replace("_", "")
        raise UserError(
            f"env.id={env_id}: is an Atari game under another name; expected "
            f"{atari.NAMESPACE}<Game>-v5{nearest(f'{atari.NAMESPACE}{game}-v5', known_ids())}"
        )


@contextmanager
def _user_errors(env_id: str) -> Iterator[None]:
    try:
        with blame(
            f"env.id={env_id}: cannot be made",
            but=(ImportError, error.Error),
            or_else=lambda: place_of(_creator(env_id)),
        ):
            yield
    except UserError as refusal:
        hint = _hint_on_arguments(env_id, refusal.__cause__)
        raise UserError(f"{refusal}{hint}") from refusal.__cause__
    except error.DependencyNotInstalled as missing:
        reason = str(missing).split("\n")[0]
        raise UserError(f"env.id={env_id}: {reason}") from missing
    except ImportError as missing:
        # "package:id" whose package is missing, and versions removed from gymnasium.
        reason = str(missing).split("\n")[0]
        raise UserError(f"env.id={env_id}: cannot be imported ({reason})") from missing
    except error.Error as problem:
        if env_id.rpartition(":")[2] in gymnasium.registry:
            reason = in_words(problem)
            raise UserError(f"env.id={env_id}: cannot be made ({reason})") from problem
        found = nearest_id(env_id, known_ids())
        hint = (
            "; expected a registered gymnasium id, or module:id of a module that registers it"
            if found is None
            else f"; did you mean '{found}'?"
        )
        raise UserError(f"env.id={env_id}: no such environment{hint}") from problem


def _hint_on_arguments(env_id: str, problem: BaseException | None) -> str:
    """Return a hint on missing or unknown ``env.kwargs``; empty if they are not the problem."""
    text = str(problem) if isinstance(problem, TypeError) else ""
    if match := re.search(r"missing \d+ required [\w-]+ arguments?: (.*)", text):
        return "; expected " + " ".join(
            f"env.kwargs.{name}=..." for name in re.findall(r"'(\w+)'", match[1])
        )
    match = re.search(r"__init__\(\) got an unexpected keyword argument '(\w+)'", text)
    creator = _creator(env_id)
    if match is None or creator is None:
        return ""
    hint = nearest(match[1], inspect.signature(creator).parameters)
    return hint.replace("'", "'env.kwargs.", 1)


def _creator(env_id: str) -> Any:
    """Return the callable with which gymnasium makes the environment; ``None`` if it has none."""
    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    entry = None if spec is None else spec.entry_point
    return load_env_creator(entry) if isinstance(entry, str) else entry


@contextmanager
def _silent_mujoco() -> Iterator[None]:
    """Silence MuJoCo, which otherwise warns at every make that Gymnasium's models use old
    attributes, and leaves MUJOCO_LOG.TXT in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
