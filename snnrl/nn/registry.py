"""Components by name: the choices for each part of a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple, TypeVar

from snnrl.errors import UserError, expect, nearest
from snnrl.nn.trial import check_kind, try_component
from snnrl.parameters import check_parameters, parameters_of

C = TypeVar("C", bound=Callable[..., Any])

Spec = str | type | Mapping[str, Any]
"""``"lif"``, a class, or ``dict(name="lif", decay=0.5)`` with either."""

GROUPS = {
    "neuron": "neuron",
    "surrogate": "surrogate",
    "norm": "bn",
    "encoder": "encoder",
    "regulation": "regulation",
    "loss": "loss",
}
"""Kind of component -> the group of settings that chooses it."""

FOLDERS = {
    "neuron": "neurons",
    "surrogate": "surrogates",
    "norm": "norm",
    "encoder": "encoders",
    "regulation": "regulations",
    "loss": "losses",
}
"""Kind of component -> the folder of :mod:`snnrl.nn` whose modules bring the package's own."""

CONTEXT = {
    "neuron": ("shape", "threshold", "surrogate"),
    "surrogate": ("shape",),
    "norm": ("shape", "threshold"),
    "encoder": ("inputs", "time_steps", "input_range"),
    "regulation": ("layers",),
    "loss": (),
}
"""Kind of component -> parameters given by the network, never by the user."""


class Component(NamedTuple):
    """One choice.

    :param name: as it is written
    :param maker: the class
    :param presets: parameters of this choice that differ from the class's defaults
    """

    name: str
    maker: Callable[..., Any]
    presets: dict[str, Any]


_components: dict[str, dict[str, Component]] = {kind: {} for kind in GROUPS}


def register(kind: str, name: str, **presets: Any) -> Callable[[C], C]:
    """Make a class a choice: ``@register("neuron", "my_lif")``.

    One class can be several choices, each with presets of its own.

    :param kind: a key of :data:`GROUPS`
    :param name: what people write to choose it
    :param presets: parameters that differ from the class's defaults
    :raises UserError: no such kind, or another class has the name
    """
    expect("register", kind, GROUPS)

    def add(maker: C) -> C:
        there = _components[kind].get(name)
        if there is not None and _origin(there.maker) != _origin(maker):
            raise UserError(
                f"{GROUPS[kind]}={name}: is {_origin(there.maker)} already; expected another name "
                f"for {_origin(maker)}"
            )
        _components[kind][name] = Component(name, maker, presets)
        return maker

    return add


def names(kind: str) -> list[str]:
    """Return the names of all choices of a kind, the package's own and others."""
    _import_own(kind)
    return sorted(_components[kind])


def component(kind: str, name: str | type) -> Component:
    """Return a choice, of a class the one that it is registered as; others are by themselves.

    Of a class that is several choices it is the one with the class's own defaults.

    :raises UserError: unknown name, or a class that is several choices, none with its own defaults
    """
    if isinstance(name, type):
        check_kind(f"{GROUPS[kind]}={name.__name__}", kind, name)
        known_as = [each for each in _components[kind].values() if each.maker is name]
        known_as = [each for each in known_as if not each.presets] or known_as
        if len(known_as) > 1:
            choices = ", ".join(sorted(each.name for each in known_as))
            raise UserError(
                f"{GROUPS[kind]}={name.__name__}: is registered under several names; expected "
                f"one of {choices}"
            )
        return known_as[0] if known_as else Component(name.__name__, name, {})
    _import_own(kind)
    if name not in _components[kind]:
        known = sorted(_components[kind])
        hint = nearest(str(name), known) or "; for one of your own, first import its module"
        raise UserError(f"{GROUPS[kind]}={name}: expected one of {', '.join(known)}{hint}")
    found = _components[kind][name]
    check_kind(f"{GROUPS[kind]}={name}", kind, found.maker)
    return found


def split_spec(spec: Spec, kind: str) -> tuple[Any, dict[str, Any]]:
    """``"lif"`` or ``dict(name="lif", decay=0.5)`` -> the name (or class) and the parameters.

    :param kind: a key of :data:`GROUPS`, or another key that the error names
    :raises UserError: neither a name nor a mapping with a name
    """
    if isinstance(spec, str | type):
        return spec, {}
    key = GROUPS.get(kind, kind)
    if not isinstance(spec, Mapping):
        hint = nearest(str(spec), names(kind)) if kind in GROUPS else ""
        raise UserError(f"{key}={spec}: expected a name or dict(name=..., **parameters){hint}")
    parameters = dict(spec)
    if "name" not in parameters:
        raise UserError(f"{key}={parameters}: has no name; expected dict(name=..., **parameters)")
    return parameters.pop("name"), parameters


def build(kind: str, spec: Spec, **context: Any) -> Any:
    """Make a component.

    :param kind: a key of :data:`GROUPS`
    :param spec: a name or a class, or a mapping with it and with parameters
    :param context: arguments that do not come from a person: those that the constructor names are
        handed on
    :raises UserError: unknown name or parameter, another type or a value out of bounds, or one of
        the user's own that does not do what its kind does
    """
    name, given = split_spec(spec, kind)
    chosen = component(kind, name)
    parameters = {**chosen.presets, **given}
    check_parameters(GROUPS[kind], chosen.name, chosen.maker, parameters, context=context)
    takes = parameters_of(chosen.maker)
    given = {k: v for k, v in context.items() if k in takes}
    make = partial(chosen.maker, **parameters, **given)
    try_component(f"{GROUPS[kind]}={chosen.name}", kind, chosen.maker, make, context)
    return make()


def import_folder(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that what it brings is registered."""
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")


def _import_own(kind: str) -> None:
    import_module(f"snnrl.nn.{FOLDERS[kind]}")


def _origin(maker: Callable[..., Any]) -> str:
    module = inspect.getmodule(maker)
    return f"{module.__name__ if module else '?'}.{maker.__qualname__}"
