"""YAML and JSON of a run folder, which may come from a stranger or be truncated by a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from snnrl.errors import UserError
from snnrl.text import one_line

LARGEST = {".yaml": 2**20, "": 2**20, ".json": 2**28}
"""Largest size of a document in bytes, by file extension; provenance.json holds uncommitted
changes."""

DEEPEST = 20
"""Largest depth of nested mappings and lists, far above that of any run."""


class _Plain(yaml.SafeLoader):
    """YAML loader without aliases: a few of them make a document of gigabytes, or a recursive
    one."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("expected no aliases (*name)")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def read_text(file: Path, largest: int | None = None) -> str:
    """Return the text of a file.

    :param largest: bytes that are read at most
    :raises UserError: it cannot be read, has more bytes, or is no UTF-8
    """
    try:
        if file.exists() and not file.is_file():
            # A device or a pipe may never end.
            raise UserError(f"{file}: cannot be read, expected a file")
        if largest is not None and (size := file.stat().st_size) > largest:
            raise UserError(f"{file}: has {size:,} bytes; expected at most {largest:,}")
        return file.read_text("utf-8")
    except OSError as problem:
        raise UserError(f"{file}: cannot be read ({problem.strerror})") from None
    except ValueError as problem:
        raise UserError(f"{file}: expected text ({one_line(problem)})") from None


def read_document(file: Path) -> Any:
    """Return what a YAML file holds, or a JSON file by its name: nothing but plain values.

    :raises UserError: it cannot be read, is cut short, too large, or nested too deeply
    """
    text = read_text(file, LARGEST.get(file.suffix, LARGEST[""]))
    return parse_document(text, file, "JSON" if file.suffix in (".json", "") else "YAML")


def parse_document(text: str, source: object, kind: Literal["JSON", "YAML"] = "YAML") -> Any:
    """Return what a text holds: nothing but plain values, and mappings whose keys are texts.

    :param source: named in the error
    :raises UserError: it is something else, is cut short, or nested too deeply
    """
    try:
        # The parsers raise ValueError for impossible dates and numbers.
        content = json.loads(text) if kind == "JSON" else yaml.load(text, _Plain)
    except (ValueError, OverflowError, yaml.YAMLError) as problem:
        raise UserError(
            f"{source}: cannot be read, expected {kind} ({one_line(problem)})"
        ) from None
    except RecursionError:
        raise _too_deep(source) from None
    _check_depth(content, source)
    return content


def read_mapping(file: Path) -> dict[str, Any]:
    """Return :func:`read_document`, a mapping.

    :raises UserError: also where it is something else, or has keys that are not texts
    """
    content = read_document(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a mapping, not {type(content).__name__}")
    return content


def _check_depth(content: Any, source: object) -> None:
    level, depth = [content], 0
    while level:
        if depth > DEEPEST:
            raise _too_deep(source)
        deeper: list[Any] = []
        for node in level:
            if isinstance(node, Mapping):
                if wrong := [key for key in node if not isinstance(key, str)]:
                    raise UserError(f"{source}: key {one_line(wrong[0])}: expected a string")
                deeper += node.values()
            elif isinstance(node, list | tuple | set):
                deeper += node
        level, depth = deeper, depth + 1


def _too_deep(source: object) -> UserError:
    return UserError(f"{source}: nested too deeply; expected at most {DEEPEST} levels")
