"""Wrappers around an environment, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TypeGuard

import gymnasium
from gymnasium import wrappers

from snnrl.envs.blame import blame
from snnrl.errors import UserError, nearest

_MOVING = (
    "keeps running statistics, which evaluations would not have; expected a wrapper without them, "
)
_PYTHON = "(docs/architecture.md)"

REFUSED: dict[type, str] = {
    wrappers.RecordVideo: "writes files in every environment; expected python -m snnrl.evaluate "
    "--video",
    wrappers.NormalizeObservation: f"{_MOVING}algo.normalize_observations=true, or from "
    f"Python VecNormalize for PPO and ObservationNormalizer for the others {_PYTHON}",
    wrappers.NormalizeReward: f"{_MOVING}or VecNormalize from Python {_PYTHON}",
}
"""Wrappers of gymnasium that are refused, with what to do instead."""

Wrap = str | Mapping[str, Any]
"""``FlattenObservation``, or ``dict(name="FrameStackObservation", stack_size=4)``."""


def wrap(env: gymnasium.Env[Any, Any], specs: Sequence[Wrap]) -> gymnasium.Env[Any, Any]:
    """Put wrappers around an environment, the first innermost.

    :param specs: each a class of ``gymnasium.wrappers`` or ``module:Class``, with its arguments
    :raises UserError: no such class, one of :data:`REFUSED` by any name, an argument that it does
        not have, or it cannot be made
    """
    for index, spec in enumerate(specs):
        key = f"env.wrappers[{index}]"
        arguments = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise UserError(f"{key}={spec}: has no name; expected {{name: ..., argument: ...}}")
        kind = _class_of(key, name)
        _check_arguments(f"{key}: {name}", kind, arguments)
        with blame(f"{key}: {name} cannot be made"):
            env = kind(env, **arguments)
    return env


def _class_of(key: str, name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon and name not in wrappers.__all__:
        hint = nearest(name, wrappers.__all__) or "; expected one of theirs, or module:Class"
        raise UserError(f"{key}: {name} is not in gymnasium.wrappers{hint}")
    if not colon:
        module, attribute = wrappers.__name__, name
    with blame(f"{key}: {name} cannot be imported"):
        kind = getattr(import_module(module), attribute, None)
    if not _is_wrapper(kind):
        raise UserError(f"{key}: {name} is {kind}; expected a class of gymnasium.Wrapper")
    for refused, reason in REFUSED.items():
        if issubclass(kind, refused):
            what = name if not colon else f"{name}, a {refused.__name__},"
            raise UserError(f"{key}: {what} {reason}")
    return kind


def _is_wrapper(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and issubclass(kind, gymnasium.Wrapper)


def _check_arguments(what: str, kind: Any, given: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(kind).parameters.values())[1:]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
    for name in given:
        if name not in names:
            expected = nearest(name, names) or f"; expected {' or '.join(names) or 'none'}"
            raise UserError(f"{what} takes no argument {name}{expected}")
    lacking = [p.name for p in parameters if p.default is p.empty and p.name not in given]
    if lacking:
        raise UserError(f"{what} needs an argument; expected {{..., {lacking[0]}: ...}}")
