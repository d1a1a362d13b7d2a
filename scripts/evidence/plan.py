"""Plan of the queue: the run folder of every entry, computed by the code of its tag."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scripts.evidence.clones import check_clone, check_tag, environment, make_clone, python_of
from scripts.evidence.entries import Entry, read_entries
from scripts.evidence.place import RUNS_FROM_CLONE, Place
from snnrl.errors import UserError


class Planned(NamedTuple):
    """An entry, its command line and its run folder.

    :param name: settings that distinguish it from other entries
    :param overrides: command line of its run
    :param folder: run folder, relative to the clone
    :param path: run folder, absolute
    :param extends: earlier entry whose run this one extends
    """

    entry: Entry
    name: str
    overrides: list[str]
    folder: str
    path: Path
    extends: Entry | None


class Plan(NamedTuple):
    """All entries, in order.

    :param at_once: runs in parallel
    """

    runs: list[Planned]
    at_once: int


def make_plan(place: Place, *, begin: bool) -> Plan:
    """Return the plan of all entries.

    :param begin: whether runs are about to start: then clones are made and every setting is
        checked; otherwise the last answers of the clones are reused
    :raises UserError: the list cannot be read, a clone is missing, a setting is invalid, or two
        entries are the same run
    """
    entries = read_entries(place.entries)
    answers: dict[Entry, str] = {}
    at_once = 1
    tags = {entry.tag: entry.commit for entry in entries}
    # Check all tags before the first clone, whose virtual environment takes minutes.
    for tag, commit in tags.items() if begin else ():
        check_tag(place, tag, commit)
    for tag, commit in tags.items():
        if begin:
            make_clone(place, tag, commit)
        check_clone(place, tag, commit)
        own = [entry for entry in entries if entry.tag == tag]
        folders, at_once = _ask_clone(place, tag, own, begin=begin)
        answers |= dict(zip(own, folders, strict=True))
    return Plan(_in_order(place, entries, answers), place.at_once or at_once)


def _in_order(place: Place, entries: Sequence[Entry], folders: dict[Entry, str]) -> list[Planned]:
    latest: dict[Path, Entry] = {}
    shared = set.intersection(*(set(entry.settings) for entry in entries))
    runs = []
    for entry in entries:
        path = (place.clone(entry.tag) / folders[entry]).resolve()
        before = latest.get(path)
        if before is not None and before.steps >= entry.steps:
            raise UserError(
                f"{place.entries}: runs {before.number} and {entry.number} are the same run "
                f"({entry.name}); expected more steps in the later one, to extend it"
            )
        latest[path] = entry
        overrides = entry.overrides(_results_dir(entry.tag))
        own = [text for text in entry.name.split() if text not in shared]
        runs.append(Planned(entry, " ".join(own), overrides, folders[entry], path, before))
    return runs


def _ask_clone(
    place: Place, tag: str, entries: Sequence[Entry], *, begin: bool
) -> tuple[list[str], int]:
    asked = [entry.overrides(_results_dir(tag)) for entry in entries]
    # A tag does not move, so the run folders of its settings stay the same.
    remembered = place.clone(tag).with_name(f"{tag}.folders.json")
    if not begin:
        with suppress(OSError, ValueError, KeyError, TypeError):
            memory = json.loads(remembered.read_text())
            if memory["asked"] == asked:
                return memory["folders"], memory["cores"]
    answer = _compose(place, tag, asked, check=begin)
    for entry, folder in zip(entries, answer["folders"], strict=True):
        if isinstance(folder, dict):
            raise UserError(
                f"{place.entries}: run {entry.number} ({entry.name}): {folder['error']}"
            )
    with suppress(OSError):  # the file only saves seconds
        remembered.write_text(json.dumps({**answer, "asked": asked}))
    return answer["folders"], answer["cores"]


def _compose(place: Place, tag: str, asked: list[list[str]], *, check: bool) -> dict[str, Any]:
    clone = place.clone(tag)
    (place.runs / tag).mkdir(parents=True, exist_ok=True)
    command = [python_of(place, tag), "-m", "scripts.evidence.inside", "compose"]
    done = subprocess.run(
        [*command, *(["--check"] if check else [])],
        cwd=clone,
        env=environment(clone),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise UserError(f"{clone}: cannot compose settings ({reason})") from None
    if clone.resolve() not in Path(answer["package"]).resolve().parents:
        raise UserError(f"{command[0]}: runs the code in {answer['package']}, expected {clone}'s")
    return dict(answer)


def _results_dir(tag: str) -> str:
    return f"{RUNS_FROM_CLONE}/{tag}"


def readable(place: Place, text: str) -> str:
    """Return a clone's message with its relative paths made absolute."""
    return text.replace(RUNS_FROM_CLONE, str(place.runs))
