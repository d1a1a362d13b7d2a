"""Errors raised by a user's environment, in one line."""

from __future__ import annotations

import importlib
import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gymnasium

import snnrl
from snnrl.errors import UserError

_NOT_THEIRS = tuple(str(Path(p.__file__ or "").parent) for p in (gymnasium, snnrl, importlib))

_GYMNASIUMS_ENVS = Path(gymnasium.__file__).parent / "envs"

_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


@contextmanager
def blame(
    what: str,
    but: tuple[type[Exception], ...] = (),
    or_else: Callable[[], str] = lambda: "",
) -> Iterator[None]:
    """Context in which an exception becomes a :class:`UserError` that gives ``what`` and the
    reason.

    :param what: what fails, such as ``env.id=Own-v0: reset() fails``
    :param but: exceptions that pass unchanged
    :param or_else: returns the place to name if no line of the environment ran
    :raises UserError: there was one; a :class:`UserError` passes unchanged
    """
    try:
        yield
    except (Exception, SystemExit) as problem:
        if isinstance(problem, (UserError, *but)):
            raise
        raise UserError(f"{what} ({in_words(problem, or_else)})") from problem


def in_words(problem: BaseException, or_else: Callable[[], str] = lambda: "") -> str:
    """Return ``ValueError: no such track, racing.py:31``, with the last line likely in the
    environment."""
    # gymnasium adds arguments that the user did not give.
    text = re.split(r" was raised from the environment creator", str(problem))[0].split("\n")[0]
    name = type(problem).__name__
    where = place(problem) or or_else()
    words = f"{name}: {text}" if text else name
    # The text of a SyntaxError contains the place.
    return f"{words}, {where}" if where and not isinstance(problem, SyntaxError) else words


def place(problem: BaseException) -> str:
    """Return ``racing.py:31``, the last line likely in the environment; empty if there is none."""
    chain = [problem]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    # gymnasium re-raises some exceptions.
    frames = [f for each in reversed(chain) for f in traceback.extract_tb(each.__traceback__)]
    theirs = [f for f in frames if _is_environment_code(f.filename)]
    # A user's environment is seldom installed; the libraries it calls are.
    theirs = [f for f in theirs if not f.filename.startswith(_INSTALLED)] or theirs
    return f"{Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""


def place_of(thing: Any) -> str:
    """Return ``racing.py:12``, the first line of a class or function; empty for gymnasium's or C
    code."""
    with suppress(TypeError, OSError):
        file = inspect.getsourcefile(thing) or ""
        if file and _is_environment_code(file):
            return f"{Path(file).name}:{inspect.getsourcelines(thing)[1]}"
    return ""


def place_of_method(env: gymnasium.Env[Any, Any], name: str) -> str:
    """Return the place of ``reset`` or ``step`` in the outermost layer that is not gymnasium's."""
    layer: Any = env
    while layer is not None:
        if where := place_of(getattr(type(layer), name, None)):
            return where
        layer = getattr(layer, "env", None)
    return ""


def _is_environment_code(file: str) -> bool:
    if Path(file).parent.parent == _GYMNASIUMS_ENVS:
        return True
    return not file.startswith((*_NOT_THEIRS, "<frozen"))
