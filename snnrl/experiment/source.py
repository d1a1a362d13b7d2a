"""The code that runs: its git revision, what is uncommitted, and how it differs from another's."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import snnrl

CHECKOUT = Path(snnrl.__file__).parent.parent

SOURCE = ("snnrl", "configs", "pyproject.toml", "constraints.txt")
"""What a result depends on."""


def record_source() -> dict[str, Any]:
    """Revision and uncommitted changes of the checkout; none for an installed package."""
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
            if (CHECKOUT / name).is_file()  # not an editor's lock, which links to nothing
        },
    }


def same_source(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two records are of the same code, ``now`` being of this checkout.

    Two revisions can be: not every commit touches the code.
    """
    if then.get("revision") is None or now["revision"] is None:
        return bool(then.get("revision") == now["revision"])
    since = _ask_git("diff", then["revision"], "--", *SOURCE)
    same_new_files = (then.get("untracked") or {}) == now["untracked"]
    return since == (then.get("diff") or "") and bool(same_new_files)


def in_words(git: Mapping[str, Any]) -> str:
    """A record, short."""
    if git.get("revision") is None:
        return "an installed package, or a checkout that git cannot read"
    diff = (git.get("diff") or "").split("\n")
    files = sum(line.startswith("diff --git ") for line in diff) + len(git.get("untracked") or {})
    changes = f" with uncommitted changes to {files} files" if files else ""
    return f"revision {git['revision'][:10]}{changes}"


def as_patch(git: Mapping[str, Any]) -> str:
    """The uncommitted changes of a record, new files too, as ``git apply`` takes them."""
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
    """What git answers in the checkout; ``None`` where it cannot."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(CHECKOUT), *arguments], capture_output=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None
