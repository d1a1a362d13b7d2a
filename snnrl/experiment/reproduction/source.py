"""Source code of a run: its git revision, uncommitted changes, and differences from another
record."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import snnrl
from snnrl.text import printable

CHECKOUT = Path(snnrl.__file__).parent.parent

SOURCE = ("snnrl", "configs", "pyproject.toml", "constraints.txt")
"""Paths that a result depends on."""

REVISION = re.compile(r"[0-9a-f]{7,64}")
"""Pattern of a revision that is passed to git and shown to the user: never an option's name."""


def record_source() -> dict[str, Any]:
    """Return revision and uncommitted changes of the checkout; ``None`` for an installed
    package."""
    if not (CHECKOUT / ".git").exists():
        return {"revision": None, "diff": None, "untracked": {}}
    revision = _ask_git("rev-parse", "HEAD")
    untracked = _ask_git("ls-files", "-z", "--others", "--exclude-standard", "--", *SOURCE) or ""
    return {
        "revision": revision.strip() if revision else None,
        "diff": _ask_git("diff", "HEAD", "--", *SOURCE) or None,
        "untracked": {
            name: (CHECKOUT / name).read_text(errors="replace")
            for name in untracked.split("\0")
            if (CHECKOUT / name).is_file()  # Excludes an editor's lock, which is a dangling link.
        },
    }


def faults(git: Any) -> Iterator[str]:
    """Yield the parts of a record of :func:`record_source` that must not reach git or
    ``git apply``.

    :param git: ``None``, or the entry of ``provenance.json``
    """
    git = {} if git is None else git
    if not isinstance(git, Mapping):
        yield "git: expected a mapping"
        return
    revision, untracked = git.get("revision"), git.get("untracked") or {}
    if revision is not None and not (isinstance(revision, str) and REVISION.fullmatch(revision)):
        yield "git.revision: expected hexadecimal digits"
    if not isinstance(git.get("diff"), str | None):
        yield "git.diff: expected a string"
    if not isinstance(untracked, Mapping):
        yield "git.untracked: expected a mapping"
        return
    for name, text in untracked.items():
        if not (isinstance(text, str) and _is_inside(name)):
            yield "git.untracked: expected the content of files inside the checkout"


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name == printable(name) and not path.is_absolute() and ".." not in path.parts)


def same_source(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether two records are of the same code, ``now`` being of this checkout.

    Two revisions can have the same code, as not every commit changes it.
    """
    if then.get("revision") is None or now["revision"] is None:
        return bool(then.get("revision") == now["revision"])
    since = _ask_git("diff", *_end_of_options(), then["revision"], "--", *SOURCE)
    same_new_files = (then.get("untracked") or {}) == now["untracked"]
    return since == (then.get("diff") or "") and bool(same_new_files)


def in_words(git: Mapping[str, Any]) -> str:
    """Return a record as a short text."""
    if git.get("revision") is None:
        return "an installed package, or a checkout that git cannot read"
    diff = (git.get("diff") or "").split("\n")
    files = sum(line.startswith("diff --git ") for line in diff) + len(git.get("untracked") or {})
    changes = f" with uncommitted changes to {files} files" if files else ""
    return f"revision {git['revision'][:10]}{changes}"


@cache
def _end_of_options() -> tuple[str, ...]:
    """Return git's marker for the end of options; empty for git before 2.24, which lacks it."""
    flag = "--end-of-options"
    return (flag,) if _ask_git("rev-parse", "--verify", flag, "HEAD") is not None else ()


def as_patch(git: Mapping[str, Any]) -> str:
    """Return the uncommitted changes of a record, including new files, in the form of
    ``git apply``."""
    parts = [git.get("diff") or ""]
    for name, text in sorted((git.get("untracked") or {}).items()):
        lines = text.split("\n")
        ends_whole = lines[-1] == ""
        lines = lines[:-1] if ends_whole else lines
        parts.append(f"diff --git a/{name} b/{name}\nnew file mode 100644\n")
        if text:
            parts.append(f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n")
            parts += [f"+{line}\n" for line in lines]
            parts += [] if ends_whole else ["\\ No newline at end of file\n"]
    return "".join(parts)


def _ask_git(*arguments: str) -> str | None:
    """Return the output of a git command in the checkout; ``None`` if it fails."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None
