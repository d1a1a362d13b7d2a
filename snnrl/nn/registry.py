"""From a name and parameters to an object, with errors that name the key."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from snnrl.errors import UserError, expect

T = TypeVar("T")


def split_spec(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """``"lif"`` or ``dict(name="lif", decay=0.5)`` -> the name and the parameters.

    :raises UserError: neither a name nor a mapping with a name
    """
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping):
        raise UserError(f"{spec}: expected a name or dict(name=..., **parameters)")
    parameters = dict(spec)
    if "name" not in parameters:
        raise UserError(f"{parameters}: has no name; expected dict(name=..., **parameters)")
    return parameters.pop("name"), parameters


def build(
    kind: str,
    makers: Mapping[str, Callable[..., T]],
    spec: str | Mapping[str, Any],
    *,
    pass_name: bool = False,
    **context: Any,
) -> T:
    """Call the maker that ``spec`` names with its parameters and with ``context``.

    :param kind: what is made, for the error message: ``neuron``, ``encoder``, ...
    :param makers: name -> class or function
    :param spec: a name, or a mapping with ``name`` and parameters
    :param pass_name: hand the name on as ``name=``
    :param context: arguments that do not come from the user
    :raises UserError: unknown name or unknown parameter
    """
    name, parameters = split_spec(spec)
    expect(kind, name, makers)
    maker = makers[name]
    known = sorted(_parameters_of(maker) - {"name", *context})
    for key in parameters:
        if not known:
            raise UserError(f"{kind} parameter={key}: {kind}={name} takes no parameters")
        expect(f"{kind} parameter", key, known)
    if pass_name:
        context["name"] = name
    return maker(**parameters, **context)


def _parameters_of(maker: Callable[..., Any]) -> set[str]:
    """Keyword parameters of a function, or of a class and the classes it hands keywords on to."""
    targets = (
        [vars(c)["__init__"] for c in maker.__mro__ if "__init__" in vars(c)]
        if isinstance(maker, type)
        else [maker]
    )
    names: set[str] = set()
    for target in targets:
        parameters = inspect.signature(target).parameters.values()
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}
