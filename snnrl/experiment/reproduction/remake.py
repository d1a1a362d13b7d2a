"""Record in a run folder of how the run was made, sufficient to reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from snnrl.errors import UserError
from snnrl.experiment.config.choices import environment_arguments
from snnrl.experiment.config.compose import compose_config
from snnrl.experiment.config.nodes import NODES, root_of
from snnrl.experiment.config.overrides import check_override
from snnrl.experiment.config.plugins import check_named, load
from snnrl.experiment.config.schema import PLACES
from snnrl.experiment.config.written import check_plain, check_written, leaves, written
from snnrl.experiment.reproduction.source import faults
from snnrl.imports import check_module, check_wrapper
from snnrl.run_format.config import read_config, read_overrides
from snnrl.run_format.names import CONFIG, PROVENANCE
from snnrl.run_format.provenance import read_provenance
from snnrl.run_format.settings import CAME_LATER, FREE, NOT_SETTINGS

REMADE = ("tracking", "results_dir")
"""Settings in which a reproduced run may differ."""


@dataclass(frozen=True)
class Recorded:
    """Record of a run folder.

    :param folder: the run folder
    :param config: ``config.yaml``, nested
    :param command: command of the last start
    :param parts: ``provenance.json``: the facts of each start, the last one last
    """

    folder: Path
    config: dict[str, Any]
    command: str
    parts: list[dict[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """Return the facts of the last start."""
        return self.parts[-1]


def read_record(folder: Path) -> Recorded:
    """Read a run folder's record.

    :raises UserError: not a run folder, or a file of the record is missing or damaged
    """
    config = read_whole_config(folder)
    file = folder / PROVENANCE
    try:
        parts = read_provenance(folder)
    except UserError as problem:
        reason = str(problem).removeprefix(f"{file}: ").removeprefix("cannot be read, ")
        raise UserError(f"{file}: cannot be read ({reason}); the run folder is damaged") from None
    if not parts:
        raise UserError(f"{file}: not there; the run folder is half-written")
    for part in parts:
        if fault := next(_faults(part), None):
            raise UserError(f"{file}: cannot be read ({fault}); the run folder is damaged")
    return Recorded(folder, config, _command(folder, config, parts[-1]), parts)


def read_whole_config(folder: Path) -> dict[str, Any]:
    """Return ``config.yaml`` of a run folder, nested, with a choice for every group.

    :raises UserError: not a run folder, or it is damaged
    """
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: not a run folder; expected one that holds {CONFIG}")
    config = read_config(folder)
    for key, missing in _gaps(config):
        if missing:
            raise UserError(
                f"{folder / CONFIG}: has no '{key}'; expected the configuration of a run"
            )
    return config


def read_typed_config(folder: Path, named: Collection[str] = ()) -> DictConfig:
    """Return ``config.yaml`` of a run folder as this version composes it, for acting rather than
    learning.

    :param named: modules that the user has named: the run's plugins are imported if among these
    :raises UserError: not a run folder, it is damaged, or this version does not know a setting
    """
    config = read_whole_config(folder)
    try:
        return remake(Recorded(folder, config, "", [{}]), Path("results"), named)[0]
    except UserError as problem:
        raise UserError(f"{folder / CONFIG}: {problem}") from None


def _gaps(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the keys for which every run has a value, and whether each is missing."""
    yield "seed", type(config.get("seed")) is not int
    known = {field.name for field in fields(root_of(config).node)}
    for group in (group for group in NODES if group in known):
        name = "id" if group == "env" else "name"
        added = group in REMADE or f"{group}.{name}" in CAME_LATER
        if group in config or not added:
            node = config.get(group)
            yield f"{group}.{name}", not _has(node, name)
    for place, node in _filled_places(config):
        yield f"{place}.name", not _has(node, "name")


def _filled_places(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what fills the further places of groups, such as ``critic.bn``."""
    for place in PLACES:
        part, _, name = place.rpartition(".")
        node = config.get(part)
        if isinstance(node, dict) and node.get(name) is not None:
            yield place, node[name]


def _has(node: Any, name: str) -> bool:
    return isinstance(node, dict) and isinstance(node.get(name), str)


def _faults(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield deviations from the form of
    :func:`snnrl.experiment.reproduction.provenance.collect`."""
    for name, usual, kind in (
        ("versions", None, dict),
        ("hardware", {}, dict),
        ("plugins", {}, dict),
        ("sources", {}, dict),
        ("command", [], list),
        ("kernel", "", str),
        ("threads", 1, int),
        ("deterministic", False, bool),
    ):
        if not isinstance(facts.get(name, usual), kind):
            yield f"{name}: expected a {kind.__name__}"
        elif kind is dict and any(isinstance(v, dict | list) for v in facts.get(name, {}).values()):
            yield f"{name}: expected one value a name"
    yield from faults(facts.get("git"))


def _command(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    overrides = read_overrides(folder)
    if overrides is None:
        # A run of another program, in our format.
        return shlex.join(map(str, facts.get("command", ["unknown"])))
    return f"python -m snnrl.{root_of(config).name} {shlex.join(map(str, overrides))}"


def remake(
    recorded: Recorded, results_dir: Path, named: Collection[str] = ()
) -> tuple[DictConfig, list[str]]:
    """Return the configuration for repeating the run elsewhere, and a command line that gives it.

    The command line contains every value, so that today's defaults have no effect. The kernel and
    the device are those that ``auto`` resolved to; tracking is off.

    :param named: modules that the user has named
    :raises UserError: this version does not know a setting of the run, or a value of it, or a
        plugin of the run is not named
    """
    check_named(recorded.config, named)
    values = dict(leaves(recorded.config))
    for key, value in values.items():
        check_plain(key, value)
        if key in FREE:
            check_written(key, value)
    values |= {
        key: value
        for key, value in CAME_LATER.items()
        if key not in values and _applies(key, recorded.config)
    }
    overrides = [*_choices(recorded), *_settings(values, recorded)]
    overrides += ["tracking=none", f"results_dir={written(str(results_dir))}"]
    load(recorded.config.get("plugins", []))
    root = root_of(recorded.config)
    overrides = [check_override(text, root) for text in overrides]
    return compose_config(overrides, root), overrides


def check_code(cfg: DictConfig, named: Collection[str]) -> None:
    """Check that making the environment imports only installed modules or ones the user has named.

    :param named: modules that the user has named
    :raises UserError: see :func:`snnrl.imports.check_module` and
        :func:`snnrl.imports.check_wrapper`
    """
    check_module(cfg.env.id, named)
    for wrapper in environment_arguments(cfg.env).get("wrappers") or ():
        name = wrapper.get("name") if isinstance(wrapper, Mapping) else wrapper
        check_wrapper(str(name), named)


def added_settings(recorded: Recorded, cfg: DictConfig) -> dict[str, Any]:
    """Return the settings of the remade configuration that the run has no value for, with today's
    defaults."""
    known = {**CAME_LATER, **dict(leaves(recorded.config))}
    return {
        key: value
        for key, value in leaves(cfg)
        if key not in known and key.split(".")[0] not in NOT_SETTINGS and not key.endswith(".name")
    }


def _choices(recorded: Recorded) -> Iterator[str]:
    config = recorded.config
    for group in root_of(config).groups():
        # An environment's choice is nothing but its settings.
        if group not in ("env", "kernel", *REMADE):
            name = config[group]["name"] if group in config else CAME_LATER[f"{group}.name"]
            yield f"{group}={name}"
    for place, node in _filled_places(config):
        yield f"{PLACES[place]}@{place}={node['name']}"
    yield f"kernel={recorded.facts.get('kernel', config['kernel']['name'])}"


def _applies(key: str, config: Mapping[str, Any]) -> bool:
    """Return whether the run's choice of a group has a setting."""
    place, _, name = key.rpartition(".")
    nodes = NODES.get(PLACES.get(place, place))
    if nodes is None:
        return True
    chosen: Mapping[str, Any] = reduce(
        lambda at, group: at.get(group) or {}, place.split("."), config
    )
    node = nodes.get("") or nodes.get(chosen.get("name", ""))
    return node is not None and name in {field.name for field in fields(node)}


def _settings(values: Mapping[str, Any], recorded: Recorded) -> Iterator[str]:
    root = root_of(recorded.config)
    for key, value in values.items():
        if key.split(".")[0] in REMADE or key.endswith(".name") or key in PLACES:
            continue
        if root.is_derived(key):
            continue
        if key == "device" and value == "auto":
            gpu = (recorded.facts.get("hardware") or {}).get("gpu")
            value = "cuda" if gpu else "cpu"
        yield f"{key}={written(value)}"
