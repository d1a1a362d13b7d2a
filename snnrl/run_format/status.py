"""Identification of run folders, and how a run ended."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from snnrl.run_format.names import CONFIG, DONE, EVALUATIONS, FAILED, LOCK, PROVENANCE

Status = Literal["done", "failed", "unfinished"]

MARKS = (EVALUATIONS, PROVENANCE, FAILED, DONE, LOCK)
"""Files that distinguish a run's ``config.yaml`` from another program's; one exists from the
start."""


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, including one that ended before its first evaluation."""
    return (folder / CONFIG).is_file() and any((folder / mark).is_file() for mark in MARKS)


def is_done(folder: Path) -> bool:
    """Return whether the run has ended as planned."""
    return (folder / DONE).exists()


def has_failed(folder: Path) -> bool:
    """Return whether the run has ended with an exception."""
    return (folder / FAILED).exists()


def status_of(folder: Path) -> Status:
    """Return how the run ended; ``unfinished`` is still running or was cut off."""
    if has_failed(folder):
        return "failed"
    return "done" if is_done(folder) else "unfinished"
