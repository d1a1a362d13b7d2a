"""How far a run is, without what takes seconds to import."""

from __future__ import annotations

import csv
from pathlib import Path

from snnrl.errors import UserError
from snnrl.run_format.bounds import MOST_STEPS
from snnrl.run_format.documents import read_text
from snnrl.run_format.names import PROGRESS
from snnrl.text import one_line


def last_logged_step(folder: Path) -> int:
    """Return the environment steps of the last whole row of progress.csv; 0 without one.

    :raises UserError: it cannot be read, or has no steps
    """
    file = folder / PROGRESS
    if not file.exists():
        return 0
    # What follows the last newline is still being written.
    whole, _, _ = read_text(file).rpartition("\n")
    try:
        rows = list(csv.DictReader(whole.splitlines()))
    except csv.Error as problem:
        raise UserError(f"{file}: expected CSV ({one_line(problem)})") from None
    if not rows:
        return 0
    steps = rows[-1].get("timesteps") or ""
    if not steps.isdecimal() or len(steps) > len(str(MOST_STEPS)):
        raise UserError(f"{file}: last line: timesteps: expected a number of environment steps")
    return int(steps)
