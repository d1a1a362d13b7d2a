"""``provenance.json``: facts of each start of a run: versions, source, machine, command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snnrl.errors import UserError
from snnrl.run_format.documents import read_mapping
from snnrl.run_format.durable import write_text
from snnrl.run_format.names import PROVENANCE

EARLIER = "resumed_from"
"""Key of the facts of earlier starts, next to those of the last one."""

PLUGINS, SOURCES = "plugins", "sources"
"""Keys of the SHA-256 of the source of each plugin, and of each other module of the user's own.
Records of earlier versions lack the second one."""


def read_provenance(folder: Path) -> list[dict[str, Any]]:
    """Return the facts of each start, the last one last; none where there is no provenance.json.

    :raises UserError: provenance.json is not of the expected form
    """
    file = folder / PROVENANCE
    if not file.exists():
        return []
    last = read_mapping(file)
    earlier = last.pop(EARLIER, [])
    if not (isinstance(earlier, list) and all(isinstance(facts, dict) for facts in earlier)):
        raise UserError(f"{file}: expected a mapping, with a list of such in '{EARLIER}'")
    starts = [*earlier, last]
    for facts in starts:
        for name in ("versions", "hardware", PLUGINS, SOURCES):
            if not isinstance(facts.get(name, {}), dict):
                raise UserError(f"{file}: expected a mapping with a mapping '{name}'")
    return starts


def own_sources(start: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the source of each module of the user's own, as far as it is recorded.

    :param start: facts of one start
    """
    return {**start.get(PLUGINS, {}), **start.get(SOURCES, {})}


def write_provenance(folder: Path, starts: Sequence[Mapping[str, Any]]) -> None:
    """Write the facts of each start.

    :param starts: the last one last
    """
    *earlier, last = starts
    history = {EARLIER: earlier} if earlier else {}
    write_text(folder / PROVENANCE, json.dumps({**last, **history}, indent=2))
