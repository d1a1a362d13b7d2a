"""The list of runs, ``configs/evidence.yaml``, read into one entry per run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from snnrl.errors import UserError, nearest

KEYS = {
    "tag": "a tag of this repository",
    "commit": "the 40 hexadecimal digits of the tag's commit",
    "settings": "settings separated by spaces",
    "variants": "a list of settings that distinguish the group's runs",
    "seeds": "a list of different seeds",
    "steps": "total environment steps",
}
"""Keys of a group, each with its expected value."""

OPTIONAL = ("commit",)
"""Keys that may be left out."""

OURS = ("seed", "total_steps", "threads", "tracking", "results_dir", "retry", "hydra")
"""Settings that the queue itself gives to every run."""


class Entry(NamedTuple):
    """One run of the list.

    :param number: position in the list, from 1
    :param tag: tag whose code runs it
    :param settings: settings of its group, then those of its variant
    :param steps: total environment steps
    :param commit: commit of the tag, for a checkout without tags
    """

    number: int
    tag: str
    settings: tuple[str, ...]
    seed: int
    steps: int
    commit: str | None = None

    @property
    def name(self) -> str:
        """Settings and seed: ``experiment=carebn/td3 env=hopper bn=carebn seed=0``."""
        return " ".join([*self.settings, f"seed={self.seed}"])

    def overrides(self, results_dir: str) -> list[str]:
        """Return the command line of the run."""
        return [
            *self.settings,
            f"seed={self.seed}",
            f"total_steps={self.steps}",
            "threads=1",
            "tracking=none",
            f"results_dir={results_dir}",
        ]


def read_entries(file: Path) -> list[Entry]:
    """Return all runs of a list, seed by seed within each group.

    :raises UserError: the file is missing or malformed; the message names group and key
    """
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{file}: cannot be read ({problem})") from None
    except yaml.YAMLError as problem:
        raise UserError(f"{file}: expected YAML ({' '.join(str(problem).split())})") from None
    groups = content.get("groups") if isinstance(content, dict) and len(content) == 1 else None
    if not isinstance(groups, list) or not groups:
        raise UserError(f"{file}: expected one key, 'groups', with a list of groups")
    entries: list[Entry] = []
    for number, group in enumerate(groups, start=1):
        where = f"{file}: group {number}"
        _check(group, where)
        shared = shlex.split(group["settings"])
        for seed in group["seeds"]:
            for variant in group["variants"]:
                settings = (*shared, *shlex.split(variant))
                entries.append(
                    Entry(
                        len(entries) + 1,
                        group["tag"],
                        settings,
                        seed,
                        group["steps"],
                        group.get("commit"),
                    )
                )
    for entry in entries:
        if entry.commit != (first := next(e for e in entries if e.tag == entry.tag)).commit:
            raise UserError(
                f"{file}: tag {entry.tag}: commit {entry.commit} in run {entry.number} and "
                f"{first.commit} in run {first.number}; expected the same commit"
            )
    return entries


def _check(group: Any, where: str) -> None:
    if not isinstance(group, dict):
        raise UserError(f"{where}: expected the keys {', '.join(KEYS)}")
    for key in group:
        if key not in KEYS:
            known = f"expected only {', '.join(KEYS)}"
            raise UserError(f"{where}: {key}: {known}{nearest(str(key), KEYS)}")
    for key, meaning in KEYS.items():
        if key in OPTIONAL and key not in group:
            continue
        if key not in group:
            raise UserError(f"{where}: no '{key}', expected {meaning}")
        if not _fits(key, group[key]):
            raise UserError(f"{where}: {key}={group[key]}: expected {meaning}")
    for text in [group["settings"], *group["variants"]]:
        for setting in shlex.split(text):
            if re.split(r"[.=@/]", setting.lstrip("+~"))[0] in OURS:
                raise UserError(f"{where}: {setting}: set by the queue; expected a list without it")


def _fits(key: str, value: Any) -> bool:
    if key == "tag":
        return isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value) is not None
    if key == "commit":
        return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{40}", value) is not None
    if key == "settings":
        return _is_command_line(value)
    if key == "variants":
        return isinstance(value, list) and bool(value) and all(map(_is_command_line, value))
    if key == "seeds":
        return isinstance(value, list) and bool(value) and _are_distinct_integers(value)
    return _is_integer(value) and value > 0


def _is_command_line(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(shlex.split(value))
    except ValueError:  # an unclosed quotation
        return False


def _are_distinct_integers(values: list[Any]) -> bool:
    return all(_is_integer(v) and v >= 0 for v in values) and len({*values}) == len(values)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
