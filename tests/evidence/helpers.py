"""A repository with a tag, lists of tiny runs, and the script that works them off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from scripts.evidence.place import Place
from tests.experiment.helpers import SMALL

TAG = "evidence-test"

TINY = " ".join(
    [
        *(
            text
            for text in SMALL
            if not text.startswith(("env=", "tracking", "bn.", "total_steps"))
        ),
        "device=cpu",
        "bn=none",
    ]
)
SOUND = "env.id=tests.sweep_envs:Sound-v0"
FAILING = "env.id=tests.sweep_envs:Failing-v0"


def group(**changes: Any) -> dict[str, Any]:
    """A group of one tiny run."""
    own = {"tag": TAG, "settings": f"{TINY} {SOUND}", "variants": ["bn=none"]}
    return {**own, "seeds": [0], "steps": 100, **changes}


def place_with(folder: Path, *groups: dict[str, Any], **changes: Any) -> Place:
    """A place of its own with this list, whose runs use the tests' interpreter."""
    entries = folder / "list.yaml"
    entries.write_text(yaml.safe_dump({"groups": list(groups)}))
    place = Place(folder / "dir", entries, folder / "paper", sys.executable, 2)
    return replace(place, **changes)


def variables(place: Place, **more: str) -> dict[str, str]:
    """What tells the script of a place."""
    return {
        "PYTHON": sys.executable,
        "EVIDENCE_DIR": str(place.folder),
        "EVIDENCE_LIST": str(place.entries),
        "EVIDENCE_PYTHON": str(place.python or ""),
        "EVIDENCE_AT_ONCE": str(place.at_once or ""),
        "RESULTS": str(place.results),
        **more,
    }


def evidence(
    repository: Path, place: Place, words: Sequence[str], **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the script of a repository."""
    return subprocess.run(
        [repository / "scripts" / "evidence.sh", *words],
        env={**os.environ, "PYTHONPATH": "", **variables(place, **more)},
        capture_output=True,
        text=True,
    )


def git(folder: Path, *words: str) -> str:
    """What git answers."""
    who = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    done = subprocess.run(["git", "-C", folder, *who, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
