"""Folders and limits of the evidence, from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snnrl.errors import UserError

TOP = Path(__file__).resolve().parents[2]
"""Checkout that holds this code."""

RUNS_FROM_CLONE = "../../runs"
"""Folder of the runs relative to a clone, so that no run folder holds a path of this machine."""


@dataclass(frozen=True)
class Place:
    """Folders and limits of one queue.

    :param folder: folder of clones, run folders and logs
    :param entries: file with the list of runs
    :param results: folder of the collected records
    :param python: interpreter of the runs; None: that of each clone
    :param at_once: runs in parallel; None: as many as the machine can execute
    """

    folder: Path
    entries: Path
    results: Path
    python: str | None = None
    at_once: int | None = None

    @property
    def runs(self) -> Path:
        """Folder of the run folders, with a subfolder per tag."""
        return self.folder / "runs"

    @property
    def queue(self) -> Path:
        """Folder of the queue itself, since its last start: logs, outcomes, lock."""
        return self.folder / "queue"

    def clone(self, tag: str) -> Path:
        """Return the clone of a tag."""
        return self.folder / "clones" / tag


def from_environment(variables: Mapping[str, str]) -> Place:
    """Return the place that ``EVIDENCE_DIR`` and the other variables of ``evidence.sh`` name.

    :raises UserError: ``EVIDENCE_AT_ONCE`` is not a positive integer
    """
    number = variables.get("EVIDENCE_AT_ONCE", "")
    if number and not (number.isdecimal() and int(number)):
        raise UserError(f"EVIDENCE_AT_ONCE={number}: expected a number of runs at a time")
    return Place(
        Path(variables.get("EVIDENCE_DIR") or TOP.parent / "snnrl-evidence").absolute(),
        Path(variables.get("EVIDENCE_LIST") or TOP / "configs" / "evidence.yaml"),
        Path(variables.get("RESULTS") or TOP / "results" / "paper"),
        variables.get("EVIDENCE_PYTHON") or None,
        int(number) if number else None,
    )
