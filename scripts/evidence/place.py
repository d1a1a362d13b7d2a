"""Where things are: the folder of the evidence, and what the environment says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from snnrl.errors import UserError

TOP = Path(__file__).resolve().parents[2]
"""The checkout that this code is in."""

RUNS_FROM_CLONE = "../../runs"
"""Relative, so that no run folder holds a path of this machine."""


@dataclass(frozen=True)
class Place:
    """What belongs to one queue.

    :param folder: clones, run folders, logs
    :param entries: the list of runs
    :param results: where results are collected
    :param python: interpreter of the runs; None for each clone's own
    :param at_once: runs at a time; None for as many as the machine carries
    """

    folder: Path
    entries: Path
    results: Path
    python: str | None = None
    at_once: int | None = None

    @property
    def runs(self) -> Path:
        """Run folders, those of each tag in a folder of its own."""
        return self.folder / "runs"

    @property
    def queue(self) -> Path:
        """What is of the present start and of no run: logs, outcomes, lock."""
        return self.folder / "queue"

    def clone(self, tag: str) -> Path:
        """The checkout of a tag."""
        return self.folder / "clones" / tag


def from_environment(variables: Mapping[str, str]) -> Place:
    """The place that ``EVIDENCE_DIR`` and the other variables of ``evidence.sh`` name.

    :raises UserError: ``EVIDENCE_AT_ONCE`` is no number of runs
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
