"""What a run folder tells of how it was made, enough to make it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig

from snnrl.analysis.runs import CAME_LATER, NOT_SETTINGS
from snnrl.errors import UserError
from snnrl.experiment.config import ARGUMENTS, check_override, compose_config
from snnrl.experiment.schema import NODES

REMADE = ("tracking", "results_dir")
"""Settings that a run that is made again has of its own."""


@dataclass(frozen=True)
class Recorded:
    """A run folder's record.

    :param folder: the run folder
    :param config: ``config.yaml``, nested
    :param command: the command that it was last started with
    :param parts: ``provenance.json``: the facts of each start, the last one last
    """

    folder: Path
    config: dict[str, Any]
    command: str
    parts: list[dict[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """Those of the last start."""
        return self.parts[-1]


def read_record(folder: Path) -> Recorded:
    """Read a run folder's record.

    :raises UserError: not a run folder, or a file of the record is missing or damaged
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: not a run folder; expected one that holds config.yaml")
    config = _read(folder / "config.yaml", dict)
    for key, missing in _gaps(config):
        if missing:
            raise UserError(f"{folder / 'config.yaml'}: has no '{key}'; expected a run's")
    facts = _read(folder / "provenance.json", dict)
    earlier = facts.pop("resumed_from", [])
    parts = [*earlier, facts] if isinstance(earlier, list) else [earlier]
    if not all(map(_is_part, parts)):
        raise UserError(f"{folder / 'provenance.json'}: cannot be read; the run folder is damaged")
    return Recorded(folder, config, _command(folder, facts), parts)


def _gaps(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Keys that every run has a value of, and whether it is missing."""
    yield "seed", not isinstance(config.get("seed"), int)
    for group in NODES:
        name = "id" if group == "env" else "name"
        came_later = group in REMADE or f"{group}.{name}" in CAME_LATER
        if group in config or not came_later:
            node = config.get(group)
            has_it = isinstance(node, dict) and isinstance(node.get(name), str)
            yield f"{group}.{name}", not has_it


def _is_part(facts: Any) -> bool:
    return (
        isinstance(facts, dict)
        and isinstance(facts.get("versions"), dict)
        and isinstance(facts.get("hardware", {}), dict)
        and isinstance(facts.get("git"), dict | None)
    )


def _command(folder: Path, facts: Mapping[str, Any]) -> str:
    if not (folder / "overrides.yaml").exists():
        # Another program's run, in our format.
        return shlex.join(map(str, facts.get("command", ["unknown"])))
    overrides = _read(folder / "overrides.yaml", list)
    return f"python -m snnrl.train {shlex.join(map(str, overrides))}"


def _read(file: Path, kind: type) -> Any:
    if not file.is_file():
        raise UserError(f"{file}: not there; the run folder is half-written")
    try:
        text = file.read_text()
        content = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, kind):
        raise UserError(f"{file}: cannot be read; the run folder is damaged")
    return content


def remake(recorded: Recorded, results_dir: Path) -> tuple[DictConfig, list[str]]:
    """The configuration of the run, to be run again elsewhere, and a command line that gives it.

    Every value stands in the command line, so that today's defaults have no say. The kernel and
    the device are those that ``auto`` was then; nothing is tracked.

    :raises UserError: this version does not know a setting of the run, or a value of it
    """
    values = dict(_leaves(recorded.config))
    values |= {
        key: value
        for key, value in CAME_LATER.items()
        if key not in values and _applies(key, recorded.config)
    }
    overrides = [*_choices(recorded), *_settings(values, recorded)]
    overrides += ["tracking=none", f"results_dir={_written(str(results_dir))}"]
    overrides = [check_override(text) for text in overrides]
    return compose_config(overrides), overrides


def came_later(recorded: Recorded, cfg: DictConfig) -> dict[str, Any]:
    """Settings of the remade configuration that the run has no value of, and today's defaults."""
    known = {**CAME_LATER, **dict(_leaves(recorded.config))}
    return {
        key: value
        for key, value in _leaves(cfg)
        if key not in known and key.split(".")[0] not in NOT_SETTINGS and not key.endswith(".name")
    }


def _choices(recorded: Recorded) -> Iterator[str]:
    config = recorded.config
    for group in NODES:
        # An environment's choice is nothing but its settings.
        if group not in ("env", "kernel", *REMADE):
            name = config[group]["name"] if group in config else CAME_LATER[f"{group}.name"]
            yield f"{group}={name}"
    if "bn" in config.get("critic", {}):
        yield f"bn@critic.bn={config['critic']['bn']['name']}"
    yield f"kernel={recorded.facts.get('kernel', config['kernel']['name'])}"


def _applies(key: str, config: Mapping[str, Any]) -> bool:
    """Whether the run's choice of a group has a setting."""
    group, _, name = key.partition(".")
    if not name:
        return True
    nodes = NODES.get(group)
    if nodes is None:
        return True
    node = nodes.get("") or nodes.get(config.get(group, {}).get("name", ""))
    return node is not None and name in {field.name for field in fields(node)}


def _settings(values: Mapping[str, Any], recorded: Recorded) -> Iterator[str]:
    for key, value in values.items():
        is_choice = key.endswith(".name") and not key.startswith(ARGUMENTS)
        if key.split(".")[0] in REMADE or is_choice:
            continue
        if key == "device" and value == "auto":
            gpu = (recorded.facts.get("hardware") or {}).get("gpu")
            value = "cuda" if gpu else "cpu"
        yield f"{key}={_written(value)}"


def _written(value: Any) -> str:
    """A value as Hydra's command line takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    plain = r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*"
    if isinstance(value, str) and not re.fullmatch(plain, value):
        # Hydra reads backslashes as an escape only in front of a quote.
        quoted = re.sub(r"(\\*)'", r"\1\1\\'", value)
        quoted = re.sub(r"(\\+)$", r"\1\1", quoted)
        return f"'{quoted}'"
    return str(value)


def _leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping | DictConfig):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
