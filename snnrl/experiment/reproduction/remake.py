"""What a run folder tells of how it was made, enough to make it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from snnrl.analysis.documents import parse_document, read_document
from snnrl.analysis.run_files import FREE, check_lengths, read_config
from snnrl.analysis.runs import CAME_LATER, NOT_SETTINGS
from snnrl.envs.imports import check_module, check_wrapper
from snnrl.errors import UserError
from snnrl.experiment.config.choices import environment_arguments
from snnrl.experiment.config.compose import check_override, compose_config
from snnrl.experiment.config.schema import NODES, RunConfig
from snnrl.experiment.reproduction.source import faults
from snnrl.text import shortened

SETTINGS = tuple(field.name for field in fields(RunConfig))

LARGEST_ARGUMENTS = 2**18
"""Bytes of ``env.kwargs`` or ``env.wrappers`` as YAML; several copies of them go into a record."""

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
    config = read_whole_config(folder)
    facts = _read(folder / "provenance.json", dict)
    earlier = facts.pop("resumed_from", [])
    parts = [*earlier, facts] if isinstance(earlier, list) else [earlier]
    for part in parts:
        if fault := next(_faults(part), None):
            raise UserError(
                f"{folder / 'provenance.json'}: cannot be read ({fault}); the run folder is damaged"
            )
    return Recorded(folder, config, _command(folder, facts), parts)


def read_whole_config(folder: Path) -> dict[str, Any]:
    """Return ``config.yaml`` of a run folder, nested, with a choice of every group.

    :raises UserError: not a run folder, or it is damaged
    """
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder}: not a run folder; expected one that holds config.yaml")
    config = read_config(folder)
    for key, missing in _gaps(config):
        if missing:
            raise UserError(f"{folder / 'config.yaml'}: has no '{key}'; expected a run's")
    return config


def read_typed_config(folder: Path) -> DictConfig:
    """Return ``config.yaml`` of a run folder as this version composes it, to act and not to learn.

    :raises UserError: not a run folder, it is damaged, or this version does not know a setting
    """
    config = read_whole_config(folder)
    try:
        return remake(Recorded(folder, config, "", [{}]), Path("results"))[0]
    except UserError as problem:
        raise UserError(f"{folder / 'config.yaml'}: {problem}") from None


def _gaps(config: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Keys that every run has a value of, and whether it is missing."""
    yield "seed", type(config.get("seed")) is not int
    for group in NODES:
        name = "id" if group == "env" else "name"
        came_later = group in REMADE or f"{group}.{name}" in CAME_LATER
        if group in config or not came_later:
            node = config.get(group)
            yield f"{group}.{name}", not _has(node, name)
    critic = config.get("critic")
    if isinstance(critic, dict) and "bn" in critic:
        yield "critic.bn.name", not _has(critic["bn"], "name")


def _has(node: Any, name: str) -> bool:
    return isinstance(node, dict) and isinstance(node.get(name), str)


def _faults(facts: Any) -> Iterator[str]:
    """Yield what is not as :func:`snnrl.experiment.reproduction.provenance.collect` has it."""
    if not isinstance(facts, dict):
        yield "expected a mapping for each start"
        return
    for name, usual, kind in (
        ("versions", None, dict),
        ("hardware", {}, dict),
        ("command", [], list),
        ("kernel", "", str),
        ("threads", 1, int),
    ):
        if not isinstance(facts.get(name, usual), kind):
            yield f"{name}: expected a {kind.__name__}"
        elif kind is dict and any(isinstance(v, dict | list) for v in facts.get(name, {}).values()):
            yield f"{name}: expected one value a name"
    yield from faults(facts.get("git"))


def _command(folder: Path, facts: Mapping[str, Any]) -> str:
    if not (folder / "overrides.yaml").exists():
        # Another program's run, in our format.
        return shlex.join(map(str, facts.get("command", ["unknown"])))
    overrides = _read(folder / "overrides.yaml", list)
    return f"python -m snnrl.train {shlex.join(map(str, overrides))}"


def _read(file: Path, kind: type) -> Any:
    if not file.exists():
        raise UserError(f"{file}: not there; the run folder is half-written")
    content = read_document(file)
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
    for key, value in values.items():
        _check_plain(key, value)
        if key in FREE:
            _check_written(key, value)
    values |= {
        key: value
        for key, value in CAME_LATER.items()
        if key not in values and _applies(key, recorded.config)
    }
    overrides = [*_choices(recorded), *_settings(values, recorded)]
    overrides += ["tracking=none", f"results_dir={_written(str(results_dir))}"]
    overrides = [check_override(text) for text in overrides]
    return compose_config(overrides), overrides


def check_code(cfg: DictConfig, named: Collection[str]) -> None:
    """Check that making the environment imports what is installed, or what the user has named.

    :param named: modules
    :raises UserError: see :func:`snnrl.envs.imports.check_module` and
        :func:`snnrl.envs.imports.check_wrapper`
    """
    check_module(cfg.env.id, named)
    for wrapper in environment_arguments(cfg.env).get("wrappers") or ():
        name = wrapper.get("name") if isinstance(wrapper, Mapping) else wrapper
        check_wrapper(str(name), named)


def check_comes_back(cfg: DictConfig) -> None:
    """Check that a record of this configuration can be read, and the run made again from it.

    :raises UserError: naming the setting that would be lost or be another
    """
    for key in FREE:
        value = OmegaConf.select(cfg, key)
        text = OmegaConf.to_yaml(value)
        if (size := len(text.encode("utf-8", "backslashreplace"))) > LARGEST_ARGUMENTS:
            raise UserError(f"{key}: has {size:,} bytes; expected at most {LARGEST_ARGUMENTS:,}")
        parse_document(text, key)
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    read = parse_document(OmegaConf.to_yaml(cfg), "config.yaml")
    check_lengths(read, "config.yaml")
    found = dict(_leaves(read))
    for key, value in _leaves(values):
        _check_plain(key, value)
        if repr(found.get(key)) != repr(value):
            raise UserError(
                f"{key}={shortened(value)}: config.yaml would say {shortened(found.get(key))}; "
                "expected texts, numbers, true, false, null, lists and mappings"
            )
        if key in FREE:
            _check_written(key, value)


def _check_written(key: str, value: Any) -> None:
    """Check that Hydra reads what :func:`_written` writes as the same value.

    :raises UserError: it does not; quotes around a key are none of Hydra's
    """
    try:
        override = OverridesParser.create().parse_override(f"{key}={_written(value)}")
        same = not override.is_sweep_override() and repr(override.value()) == repr(value)
    except (HydraException, RecursionError):
        same = False
    if not same:
        raise UserError(
            f"{key}={shortened(value)}: no command line could give it again; expected keys that "
            "begin with a letter, of letters, digits, '_' and '-'"
        )


def _check_plain(key: str, value: Any) -> None:
    """Refuse what Hydra would read as more than a setting and its value.

    :raises UserError: a key of Hydra's own, which may name folders of configurations and classes,
        or a value that stands for another, such as that of an environment variable
    """
    if key.split(".")[0] not in SETTINGS or not re.fullmatch(r"[\w.]+", key):
        raise UserError(f"{key}: no such setting; expected those of --help")
    if "${" in str(value):
        raise UserError(f"{key}={shortened(value)}: expected a value, without '${{'")


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
        if key.split(".")[0] in REMADE or key.endswith(".name"):
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
        # Hydra's keys have no quotes.
        keys = [re.sub(r"([\\()\[\]{}:=, \t])", r"\\\1", str(key)) for key in value]
        pairs = zip(keys, map(_written, value.values()), strict=True)
        return "{" + ",".join(f"{key}:{each}" for key, each in pairs) + "}"
    plain = r"(?!(?i:true|false|null|nan|inf)$)[A-Za-z_./][\w./-]*"
    if isinstance(value, str) and not re.fullmatch(plain, value):
        # Hydra reads backslashes as an escape only in front of a quote.
        quoted = re.sub(r"(\\*)'", r"\1\1\\'", value)
        quoted = re.sub(r"(\\+)$", r"\1\1", quoted)
        return f"'{quoted}'"
    return str(value)


def _leaves(node: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; what only the environment knows is one value."""
    for key, value in node.items():
        if isinstance(value, Mapping | DictConfig) and f"{prefix}{key}" not in FREE:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
