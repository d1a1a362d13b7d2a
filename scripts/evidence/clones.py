"""Clones of this repository, one per tag, each with a virtual environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.evidence.place import TOP, Place
from snnrl.errors import UserError


def check_tag(place: Place, tag: str, commit: str | None = None) -> None:
    """Check that a tag has a clone, or can be cloned.

    :param commit: commit of the tag, for a checkout without tags
    :raises UserError: the tag does not exist, or is at another commit
    """
    tagged = _commit_of_tag(TOP, tag)
    if None not in (tagged, commit) and tagged != commit:
        raise UserError(
            f"{place.entries}: tag {tag}, commit {commit}: the tag is at {tagged} here; expected "
            "a new tag for other code"
        )
    if not place.clone(tag).exists() and _commit_here(tag, commit) is None:
        raise UserError(f"{TOP}: no tag {tag}; expected git fetch --tags, or another list")


def make_clone(place: Place, tag: str, commit: str | None = None) -> Path:
    """Return the clone of a tag, after cloning it and setting it up if necessary.

    Its ``.venv`` is made by the ``make setup`` of the tag, so later changes of dependencies do not
    affect its runs.

    :param commit: commit of the tag, for a checkout without tags
    :raises UserError: the tag does not exist, the clone has other code, or the setup failed
    """
    clone = place.clone(tag)
    if not clone.exists():
        check_tag(place, tag, commit)
        found = _commit_here(tag, commit)
        assert found is not None
        print(f"cloning {tag} into {clone}", flush=True)
        half = clone.with_name(f".{tag}.half")
        shutil.rmtree(half, ignore_errors=True)
        half.parent.mkdir(parents=True, exist_ok=True)
        _run("git", "clone", "--quiet", "--no-checkout", str(TOP), str(half), of=clone)
        _run("git", "-C", str(half), "checkout", "--quiet", "--detach", found, of=clone)
        _run("git", "-C", str(half), "tag", "--force", tag, found, of=clone)
        half.rename(clone)
    check_clone(place, tag, commit)
    # This does nothing if the clone is already set up.
    if place.python is None:
        if not _own_python(clone).exists():
            print(f"make setup in {clone}: a few minutes", flush=True)
        base = getattr(sys, "_base_executable", sys.executable)
        _run("make", "--silent", "-C", str(clone), "setup", f"PYTHON={base}", of=clone)
    return clone


def check_clone(place: Place, tag: str, commit: str | None = None) -> None:
    """Check that a clone exists and has the unchanged code of its tag.

    :param commit: commit of the tag, for a checkout without tags
    :raises UserError: the clone is missing or has other code
    """
    clone = place.clone(tag)
    if not clone.exists():
        raise UserError(f"{clone}: no clone of {tag}; expected scripts/evidence.sh start first")
    head = _output_of("git", "-C", str(clone), "rev-parse", "HEAD")
    if head is None or head != _commit_of_tag(clone, tag):
        raise UserError(f"{clone}: not at its tag {tag}; expected git checkout {tag} in it")
    ours = _commit_here(tag, commit)
    if ours is not None and ours != head:
        raise UserError(
            f"{clone}: its tag {tag} is at {head[:10]}, the one here at {ours[:10]}; expected a "
            "new tag for other code"
        )
    if changed := _output_of("git", "-C", str(clone), "status", "--porcelain"):
        first = changed.splitlines()[0].strip()
        raise UserError(f"{clone}: modified ({first}); expected the files as cloned")


def python_of(place: Place, tag: str) -> str:
    """Return the interpreter of a tag's runs.

    :raises UserError: the interpreter is missing, or its packages are not all installed
    """
    clone = place.clone(tag)
    python = place.python or str(_own_python(clone))
    if place.python is None and _own_python(clone).exists() and not _is_set_up(clone):
        raise UserError(
            f"{clone}: is being set up, or its set-up was interrupted; expected to wait, or "
            "scripts/evidence.sh start to go on"
        )
    if shutil.which(python) is None:
        raise UserError(f"{python}: missing; expected scripts/evidence.sh start to make it")
    return python


def environment(clone: Path) -> dict[str, str]:
    """Return the environment variables of a process that runs a clone's code with one thread."""
    own = {"PYTHONPATH": str(clone), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def _is_set_up(clone: Path) -> bool:
    """Return whether ``make setup`` has ended; it then leaves this file."""
    return (clone / ".venv" / "setup-done").exists()


def _own_python(clone: Path) -> Path:
    return clone / ".venv" / "bin" / "python"


def _commit_here(tag: str, commit: str | None) -> str | None:
    """Return the commit of a tag, else the one that the list names; None if neither is here."""
    named = commit and _output_of("git", "-C", str(TOP), "rev-parse", "--verify", f"{commit}^0")
    return _commit_of_tag(TOP, tag) or named or None


def _commit_of_tag(repository: Path, tag: str) -> str | None:
    """Return the commit of a tag; None if there is no such tag."""
    return _output_of("git", "-C", str(repository), "rev-parse", "--verify", f"refs/tags/{tag}^0")


def _output_of(*command: str) -> str | None:
    """Return the output of a command; None if it fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _run(*command: str, of: Path) -> None:
    try:
        status = subprocess.run(command, capture_output=True, text=True)
    except OSError as problem:
        raise UserError(f"{of}: {command[0]} cannot be started ({problem.strerror})") from None
    if status.returncode != 0:
        lines = [line for line in (status.stderr or status.stdout).splitlines() if line.strip()]
        raise UserError(f"{of}: {command[0]} failed: {lines[-1] if lines else 'no output'}")
