"""Parameters of a component, as declared by its constructor: type, bounds, default, meaning."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Container, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from snnrl.errors import UserError, expect


class Bounds(NamedTuple):
    """Bounds of a parameter, as in ``Annotated[float, Between(0, 1)]``.

    :param minimum: smallest allowed number
    :param above: the number must be larger than this
    :param maximum: largest allowed number
    """

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None

    def check(self, key: str, value: float) -> None:
        """:raises UserError: the number is out of bounds, or not finite"""
        if not math.isfinite(value):
            raise UserError(f"{key}={value}: expected a finite number")
        if self.minimum is not None and value < self.minimum:
            raise UserError(f"{key}={value}: expected at least {self.minimum}")
        if self.above is not None and not value > self.above:
            raise UserError(f"{key}={value}: expected more than {self.above}")
        if self.maximum is not None and value > self.maximum:
            raise UserError(f"{key}={value}: expected at most {self.maximum}")


def Between(minimum: float, maximum: float) -> Bounds:
    """Return inclusive bounds."""
    return Bounds(minimum=minimum, maximum=maximum)


def AtLeast(minimum: float) -> Bounds:
    """Return an inclusive lower bound."""
    return Bounds(minimum=minimum)


def Above(bound: float, maximum: float | None = None) -> Bounds:
    """Return an exclusive lower bound and an inclusive upper bound."""
    return Bounds(above=bound, maximum=maximum)


class Parameter(NamedTuple):
    """One parameter of a constructor.

    :param name: as it is written
    :param type: without its bounds: ``float``, ``int | None``, ``Literal["a", "b"]``, ...
    :param default: ``inspect.Parameter.empty`` where a value must be given
    :param bounds: of numbers
    :param meaning: its line of the docstring; empty if there is none
    """

    name: str
    type: Any
    default: Any
    bounds: Bounds
    meaning: str

    def check(self, key: str, value: Any) -> None:
        """Check a value given by the user.

        :param key: name of the parameter in the error
        :raises UserError: another type, out of bounds, or not one of the choices
        """
        kinds = alternatives(self.type)
        choices = [choice for kind in kinds for choice in literals(kind)]
        if isinstance(value, str) and choices:
            expect(
                key, value, choices, others=[_words(kind) for kind in kinds if not literals(kind)]
            )
            return
        if not any(_fits(value, kind) for kind in kinds):
            raise UserError(f"{key}={value}: expected {_words(self.type)}")
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if is_number:
            self.bounds.check(key, value)


TYPES = {
    "shape": "shape: LayerShape (of snnrl.nn.shape)",
    "threshold": "threshold: float",
    "inputs": "inputs: int",
    "time_steps": "time_steps: int",
    "layers": "layers: int",
}
"""Parameters that a network hands to its components, as they are declared."""


def parameters_of(maker: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the keyword parameters of a function, or of a class and its base classes.

    A constructor with ``**kwargs`` passes them on to its base class, whose parameters follow.

    :raises TypeError: a parameter without a type
    """
    found: dict[str, Parameter] = {}
    # Base classes describe parameters that the class does not.
    classes = reversed(maker.__mro__) if isinstance(maker, type) else [maker]
    meanings = {k: v for each in classes for k, v in _meanings(vars(each).get("__doc__")).items()}
    for owner, function in _constructors(maker):
        hints = get_type_hints(function, include_extras=True)
        for name, parameter in inspect.signature(function).parameters.items():
            if name in ("self", *found) or parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            ):
                continue
            if name not in hints:
                usual = TYPES.get(name, f"{name}: float")
                raise TypeError(
                    f"{owner.__name__}: parameter {name} has no type; expected one, such as {usual}"
                )
            kind, bounds = _split(hints[name])
            meaning = meanings.get(name, "")
            found[name] = Parameter(name, kind, parameter.default, bounds, meaning)
    return found


def check_parameters(
    kind: str,
    choice: str,
    maker: Callable[..., Any],
    given: Mapping[str, Any],
    *,
    context: Container[str],
) -> None:
    """Check the parameters given for a component.

    :param kind: what is made, for the error: ``neuron``, ``bn``, ...
    :param choice: its name, for the error
    :param maker: class or function that takes the parameters
    :param given: names and values
    :param context: parameters that do not come from a person
    :raises UserError: an unknown parameter, another type or a value out of bounds
    """
    known = {name: p for name, p in parameters_of(maker).items() if name not in context}
    for name, value in given.items():
        if not known:
            raise UserError(f"{kind} parameter={name}: {kind}={choice} takes no parameters")
        expect(f"{kind} parameter", name, sorted(known))
        known[name].check(f"{kind}.{name}", value)
    check_given(kind, known, given)


def check_given(kind: str, known: Mapping[str, Parameter], given: Container[str]) -> None:
    """Check that parameters without a default have a value.

    :raises UserError: one has none
    """
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in given:
            raise UserError(f"{kind}.{name}: has no value")


def _constructors(maker: Callable[..., Any]) -> list[tuple[Any, Callable[..., Any]]]:
    if not isinstance(maker, type):
        return [(maker, maker)]
    found = []
    for owner in maker.__mro__:
        if owner is object or "__init__" not in vars(owner):
            continue
        function = vars(owner)["__init__"]
        found.append((owner, function))
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


def _split(hint: Any) -> tuple[Any, Bounds]:
    if get_origin(hint) is Annotated:
        kind, *extras = get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, Bounds)), Bounds())
        return kind, bounds
    for kind in alternatives(hint):
        # ``Annotated[float, Above(0)] | None``
        if get_origin(kind) is Annotated:
            inner, bounds = _split(kind)
            others = [other for other in alternatives(hint) if other is not kind]
            return Union[(inner, *others)], bounds
    return hint, Bounds()


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the one type itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def literals(kind: Any) -> tuple[Any, ...]:
    """Return the values of a ``Literal``; of other types none."""
    return get_args(kind) if get_origin(kind) is Literal else ()


def _fits(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if choices := literals(kind):
        return value in choices
    if isinstance(value, bool):
        return kind is bool
    if kind is int or kind is float:
        # Includes those of numpy.
        return isinstance(value, Integral if kind is int else Real)
    kind = get_origin(kind) or kind
    return isinstance(value, kind)


WORDS = {
    float: "a number",
    int: "an integer",
    bool: "true or false",
    str: "a word",
    NoneType: "null",
}
"""Types in errors."""


def _words(kind: Any) -> str:
    shown: list[str] = []
    for each in alternatives(kind):
        shown += literals(each) or [WORDS.get(each, getattr(each, "__name__", str(each)))]
    return " or ".join(map(str, shown))


def _meanings(docstring: str | None) -> dict[str, str]:
    """Return ``:param name, other: text`` of a docstring by name; a text may span several lines."""
    meanings = {}
    for names, text in re.findall(
        r"^\s*:param ([\w, ]+):((?:.|\n(?!\s*:|\s*\n|\s*$))*)", docstring or "", re.MULTILINE
    ):
        for name in names.split(","):
            meanings[name.strip()] = " ".join(text.split())
    return meanings
