"""Facts of components and algorithms as plain data: reading it does not import torch.

Those of the package are in ``settings.json``, which ``make settings`` writes from their
constructors and classes (:mod:`snnrl.experiment.config.describe`). Those of plugins are added when
they are imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

FILE = Path(__file__).with_name("settings.json")


class Setting(NamedTuple):
    """One setting of a choice.

    :param types: names of the types of its value: ``float``, ``null``, ``list[int]``, ...
    :param default: default value; ``None`` also if there is none
    :param required: whether a value must be given
    :param minimum, above, maximum: bounds of numbers, see :class:`snnrl.parameters.Bounds`
    :param choices: allowed values
    :param meaning: one line
    """

    types: tuple[str, ...]
    default: Any
    required: bool
    minimum: float | None
    above: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    meaning: str


class Choice(NamedTuple):
    """A component that can be chosen.

    :param settings: settings by name
    :param says: settings whose values the choice's name implies
    :param needs: what it needs that only a spiking network has; ``None``: nothing
    :param schedules: settings that, unless null, spread a change over the whole of training
    """

    settings: dict[str, Setting]
    says: tuple[str, ...]
    needs: str | None
    schedules: tuple[str, ...]

    def defaults(self) -> dict[str, Any]:
        """Return the default of each setting."""
        return {name: setting.default for name, setting in self.settings.items()}


class Algorithm(NamedTuple):
    """Attributes of :class:`snnrl.agents.base.SpikingAgent` that checks need."""

    experience: str
    critics: tuple[str, ...]
    targets: tuple[str, ...]
    usual_readout: str
    without_effect: tuple[str, ...]


def components() -> dict[str, dict[str, Choice]]:
    """Return the choices of each group of components: group -> name -> choice."""
    return _read()[0]


def add(group: str, name: str, described: Mapping[str, Any]) -> None:
    """Add a choice.

    :param described: see :func:`snnrl.experiment.config.describe.describe`
    """
    components()[group][name] = _choice(described)


def algorithms() -> dict[str, Algorithm]:
    """Return the facts of each algorithm by its name."""
    return _read()[1]


def algorithm(cfg: DictConfig) -> Algorithm:
    """Return the facts of the configuration's algorithm."""
    return algorithms()[cfg.algo.name]


def only_with_rule() -> dict[str, str]:
    """Return the settings of normalisations that only one update rule has, and that rule."""
    return _read()[2]


def proxies(neuron: str | None) -> dict[str, Any]:
    """Return the published settings of the proxy of an actor.

    :param neuron: of the actor; ``None``: it is an ordinary one
    """
    known = _read()[3]
    return known.get(str(neuron), known[""])


@cache
def _read() -> tuple[
    dict[str, dict[str, Choice]], dict[str, Algorithm], dict[str, str], dict[str, dict[str, Any]]
]:
    content = json.loads(FILE.read_text())
    groups = {
        group: {name: _choice(described) for name, described in choices.items()}
        for group, choices in content["components"].items()
    }
    algorithms = {
        name: Algorithm(**{key: _hashable(value) for key, value in described.items()})
        for name, described in content["algorithms"].items()
    }
    return groups, algorithms, content["only_with_rule"], content["proxies"]


def _choice(described: Mapping[str, Any]) -> Choice:
    settings = {
        name: Setting(
            types=tuple(given["types"]),
            default=given.get("default"),
            required="default" not in given,
            minimum=given.get("minimum"),
            above=given.get("above"),
            maximum=given.get("maximum"),
            choices=_hashable(given.get("choices")),
            meaning=given["meaning"],
        )
        for name, given in described["settings"].items()
    }
    return Choice(
        settings,
        tuple(described["says"]),
        described.get("needs"),
        tuple(described.get("schedules", ())),
    )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
