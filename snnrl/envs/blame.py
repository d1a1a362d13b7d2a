"""Errors of other people's environments, in one line."""

from __future__ import annotations

import importlib
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium

import snnrl
from snnrl.errors import UserError

_NOT_THEIRS = tuple(str(Path(p.__file__ or "").parent) for p in (gymnasium, snnrl, importlib))

_INSTALLED = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


@contextmanager
def blame(what: str, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Inside, an exception becomes a :class:`UserError` that says ``what`` and why.

    :param what: what fails, such as ``env.id=Own-v0: reset() fails``
    :param but: exceptions that are left as they are
    :raises UserError: there was one; those from inside are left as they are
    """
    try:
        yield
    except (Exception, SystemExit) as problem:
        if isinstance(problem, (UserError, *but)):
            raise
        raise UserError(f"{what} ({in_words(problem)})") from problem


def in_words(problem: BaseException) -> str:
    """``ValueError: no such track, racing.py:31``: the last line that may be the environment's."""
    # gymnasium adds arguments that nobody gave.
    text = re.split(r" was raised from the environment creator", str(problem))[0].split("\n")[0]
    name = type(problem).__name__
    return f"{name}: {text}{_place(problem)}" if text else f"{name}{_place(problem)}"


def _place(problem: BaseException) -> str:
    if isinstance(problem, SyntaxError):
        return ""  # its text has the place
    chain = [problem]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    # gymnasium raises some again.
    frames = [f for each in reversed(chain) for f in traceback.extract_tb(each.__traceback__)]
    theirs = [f for f in frames if not f.filename.startswith((*_NOT_THEIRS, "<frozen"))]
    # One's own environment is seldom installed; what it calls is.
    theirs = [f for f in theirs if not f.filename.startswith(_INSTALLED)] or theirs
    return f", {Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
