"""Components and algorithms as data, read from their constructors and classes.

``python -m snnrl.experiment.config.describe`` (``make settings``) writes those of the package to
``settings.json``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from snnrl.agents import LEARNERS
from snnrl.agents.policies.proxy import PUBLISHED, published
from snnrl.errors import UserError
from snnrl.experiment.config.facts import FILE, Algorithm
from snnrl.nn.norm.rules import ONLY_WITH_RULE
from snnrl.nn.norm.strategy import Schedule
from snnrl.nn.registry import CONTEXT, GROUPS, component, names
from snnrl.nn.threshold import Threshold
from snnrl.parameters import Parameter, alternatives, literals, parameters_of

WORDS = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    type(None): "null",
    Any: "any",
    list[int]: "list[int]",
    list[float]: "list[float]",
    list[str]: "list[str]",
    dict[str, Any]: "dict[str, any]",
}
"""Parameter types that a command line can give, and their names."""


def describe_all() -> dict[str, Any]:
    """Return every component of the package, by group and name, every algorithm, which parameters
    of a normalisation only one rule has, and the published settings of proxies by neuron."""
    components = {
        group: {name: describe(kind, name) for name in names(kind) if _is_own(kind, name)}
        for kind, group in GROUPS.items()
    }
    algorithms = {
        name: {key: _plain(getattr(agent, key)) for key in Algorithm._fields}
        for name, agent in LEARNERS.items()
    }
    return {
        "components": components,
        "algorithms": algorithms,
        "only_with_rule": dict(ONLY_WITH_RULE),
        "proxies": {
            neuron or "": {key: _plain(value) for key, value in published(neuron)._asdict().items()}
            for neuron in (None, *PUBLISHED)
        },
    }


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return a component as data: its settings, those that its name implies, and what it needs.

    :param kind: a key of :data:`snnrl.nn.registry.GROUPS`
    :raises UserError: no such component, or a parameter that no command line could give
    """
    chosen = component(kind, name)
    where = f"{GROUPS[kind]}={name}"
    parameters = dict(_parameters(kind, chosen.maker))
    if unknown := sorted(chosen.presets.keys() - parameters.keys()):
        raise UserError(f"{where}: registered with {unknown[0]}, which it does not take")
    settings = {
        key: _setting(f"{where}: parameter {key}", parameter, chosen.presets)
        for key, parameter in parameters.items()
    }
    needs = getattr(chosen.maker, "needs_spikes", lambda: None)()
    schedules = sorted(getattr(chosen.maker, "schedules", ()))
    return {
        "settings": settings,
        "says": sorted(chosen.presets),
        **({} if needs is None else {"needs": needs}),
        **({"schedules": schedules} if schedules else {}),
    }


def _is_own(kind: str, name: str) -> bool:
    module: str = component(kind, name).maker.__module__
    return module.startswith("snnrl.")


def as_text(described: dict[str, Any]) -> str:
    """Return the content of ``settings.json``."""
    return json.dumps(described, indent=1) + "\n"


def _parameters(kind: str, maker: Any) -> Iterator[tuple[str, Parameter]]:
    if kind == "neuron":
        yield "threshold", parameters_of(Threshold)["threshold"]
    for name, parameter in parameters_of(maker).items():
        if name not in CONTEXT[kind]:
            yield name, parameter
    if kind == "norm":
        yield from parameters_of(Schedule).items()


def _setting(where: str, parameter: Parameter, presets: dict[str, Any]) -> dict[str, Any]:
    kinds = alternatives(parameter.type)
    choices = [choice for kind in kinds for choice in literals(kind)]
    kinds = tuple(dict.fromkeys(str if literals(kind) else kind for kind in kinds))
    for kind in kinds:
        if kind not in WORDS:
            raise UserError(f"{where}: a setting cannot have the type {kind}; expected {_known()}")
    if not all(isinstance(choice, str) for choice in choices):
        raise UserError(f"{where}: expected choices that are strings, not {choices}")
    default = presets.get(parameter.name, parameter.default)
    bounds = {key: value for key, value in parameter.bounds._asdict().items() if value is not None}
    return {
        "types": [WORDS[kind] for kind in kinds],
        **({} if default is inspect.Parameter.empty else {"default": _plain(default)}),
        **bounds,
        **({"choices": choices} if choices else {}),
        "meaning": parameter.meaning or f"parameter {parameter.name}",
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _known() -> str:
    return ", ".join(word for word in WORDS.values() if word != "null")


if __name__ == "__main__":
    FILE.write_text(as_text(describe_all()))
