"""Errors of Hydra and OmegaConf in one line that names the key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from snnrl.errors import UserError, nearest
from snnrl.experiment.config.choice_files import choices
from snnrl.experiment.config.nodes import NODES
from snnrl.experiment.config.schema import PLACES


def explain(error: Exception) -> UserError:
    """Return one line from Hydra's chain of exceptions: the innermost that knows the key says
    most."""
    chain: list[BaseException] = [error]
    while deeper := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(deeper)
    # Deeper ones come from Python, or from OmegaConf before it knew the key.
    innermost = next((e for e in reversed(chain) if getattr(e, "full_key", None)), chain[-1])
    key = getattr(innermost, "full_key", None)
    text = str(getattr(innermost, "msg", None) or innermost).strip().split("\n")[0]
    if match := re.match(r"Could not override '(\w+@(\w+)\.(\w+))'", text):
        choice, group, name = match.groups()
        owning = " or ".join(_owners(f"{group}.{name}"))
        return UserError(f"{choice}: expected only with {group}={owning}")
    if match := re.match(r"In '.*': Could not find '(hydra/\w+)/(\w+)'", text):
        group, choice = match.groups()
        hint = nearest(choice, choices(group)) or f"; expected {', '.join(choices(group))}"
        return UserError(f"{group}={choice}: no such choice, or not installed{hint}")
    if not key:
        return UserError(text)
    wrong_type = r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)"
    if match := re.match(wrong_type, text):
        value, expected = match.groups()
        words = {"Integer": "an integer", "Float": "a number", "bool": "true or false"}
        optional = " or null" if _may_be_null(innermost) else ""
        return UserError(f"{key}={value}: expected {words.get(expected, expected)}{optional}")
    if match := re.match(r"Value '(.*)' of type '\w+' is incompatible with type hint", text):
        return UserError(f"{key}={match[1]}: expected {_expected(innermost)}")
    if "is not Optional" in text:
        return UserError(f"{key}=null: expected a value")
    if "is not a ListConfig" in text:
        example = "[FlattenObservation]" if key == "env.wrappers" else "[256,256]"
        return UserError(f"{key}: expected a list, such as {example}")
    if re.match(r"Key '\w+' (is )?not in", text) and (owners := _owners(key)):
        place = key.rpartition(".")[0]
        choice = f"{PLACES[place]}@{place}" if place in PLACES else place
        return UserError(f"{key}: expected only with {choice}={' or '.join(owners)}")
    return UserError(f"{key}: {text}")


@contextmanager
def settings_of_places(overrides: Iterable[str]) -> Iterator[None]:
    """Context in which a setting of an empty place (``critic.bn``) is refused in one line."""
    try:
        yield
    except AssertionError:
        # Of OmegaConf, which expects a mapping where the setting is to go.
        for place, group in PLACES.items():
            for key in (text.partition("=")[0] for text in overrides):
                if key.startswith(f"{place}."):
                    raise UserError(f"{key}: expected only with {_filled(place, group)}") from None
        raise


def _filled(place: str, group: str) -> str:
    """Return the choices that fill an empty place."""
    part, _, name = place.rpartition(".")
    filled = [f"{group}@{place}=..."]
    for choice, node in NODES[part].items():
        if name in _names(node) and not takes_null(node, name):
            filled.append(f"{part}={choice}")
    return " or ".join(filled)


def _expected(error: BaseException) -> str:
    """Return what the setting of several types that OmegaConf complains about expects."""
    node, name = getattr(error, "object_type", None), getattr(error, "key", None)
    field = next((f for f in fields(node) if f.name == name), None) if is_dataclass(node) else None
    if field is not None and field.metadata.get("floats"):
        return " or ".join([*field.metadata["others"], *field.metadata["choices"]])
    return "an integer or null"


def _may_be_null(error: BaseException) -> bool:
    """Return whether the setting that OmegaConf complains about is optional."""
    node, name = getattr(error, "object_type", None), getattr(error, "key", None)
    return is_dataclass(node) and takes_null(node, str(name))


def takes_null(typed: Any, name: str) -> bool:
    """Return whether a field of a dataclass is optional."""
    return NoneType in get_args(get_type_hints(typed).get(name))


def _owners(key: str) -> list[str]:
    """Return the choices of a group that have a setting, or a place, which its other choices
    lack."""
    place, _, name = key.rpartition(".")
    group = PLACES.get(place, place)
    return [choice for choice, node in NODES.get(group, {}).items() if name in _names(node)]


def _names(node: type) -> set[str]:
    return {field.name for field in fields(node)} if is_dataclass(node) else set()
