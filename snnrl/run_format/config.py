"""``config.yaml`` and ``overrides.yaml``: the settings of a run and its overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from snnrl.errors import UserError
from snnrl.run_format.documents import read_document, read_mapping
from snnrl.run_format.durable import write_text
from snnrl.run_format.names import CONFIG, OVERRIDES
from snnrl.run_format.settings import FREE
from snnrl.text import shortened

LONGEST_VALUE = 4096
"""Most characters of a setting's value, such as a path."""


def read_config(folder: Path) -> dict[str, Any]:
    """Return the resolved configuration, nested.

    :raises UserError: config.yaml is not YAML, not a mapping, or holds a value that no setting can
        have
    """
    file = folder / CONFIG
    config = read_mapping(file)
    check_lengths(config, file)
    return config


def write_config(folder: Path, config: str, title: str = "") -> None:
    """Write the resolved configuration.

    :param config: as YAML
    :param title: a line for its reader
    """
    write_text(folder / CONFIG, f"# {title}\n{config}" if title else config)


def read_overrides(folder: Path) -> list[Any] | None:
    """Return the command line of the run's last start.

    :return: ``None`` where there is no overrides.yaml, as in the folders of other programs
    :raises UserError: it is damaged
    """
    file = folder / OVERRIDES
    if not file.exists():
        return None
    content = read_document(file)
    if not isinstance(content, list):
        raise UserError(f"{file}: cannot be read; the run folder is damaged")
    return content


def write_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Write the command line with which the run is started."""
    write_text(folder / OVERRIDES, yaml.safe_dump(list(overrides)))


def check_lengths(config: Mapping[str, Any], source: object) -> None:
    """Refuse values that no setting can have, and that would make tables and figures too large.

    :param source: named in the error
    :raises UserError: naming the key
    """
    for key, value in flatten(config):
        if f"{key}.".startswith(tuple(f"{name}." for name in FREE)):
            continue
        if len(key) > LONGEST_VALUE or len(str(value)) > LONGEST_VALUE:
            raise UserError(
                f"{source}: {shortened(key, 60)} has {len(str(value)):,} characters; expected a "
                f"setting, of at most {LONGEST_VALUE:,}"
            )


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of a nested mapping."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
