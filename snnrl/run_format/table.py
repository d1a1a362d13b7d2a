"""The csv files of a run: appended to during the run, cut back when it resumes."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from snnrl.errors import UserError
from snnrl.run_format.durable import replace_file, sync_file

Fingerprint = tuple[int, int]
"""Number and CRC-32 of rows of a table."""


class Table:
    """A csv file whose rows carry ``timesteps``. Rows that belong together are written at once.

    It keeps track of its rows: changes to the open file by others are undone by :meth:`sync`.

    :param path: the file; made at the first row
    :param columns: its columns, ``timesteps`` among them; more are added as rows bring them
    :raises UserError: there is a file, and it cannot be read as a table
    """

    def __init__(self, path: Path, columns: Sequence[str] = ("timesteps",)):
        self.path = path
        self.columns = list(columns)
        self._rows: list[dict[str, str]] = []
        self.ends_whole = True
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: damaged; expected a table that a run has written")
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            text = self.path.read_text(errors="replace")
            whole_lines, _, rest = text.rpartition("\n")
            reader = csv.DictReader(io.StringIO(whole_lines))
            self._rows = list(reader)
        except (OSError, csv.Error) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise UserError(
                f"{self.path}: damaged; expected a table that a run has written ({reason})"
            ) from None
        self.columns = list(reader.fieldnames or self.columns)
        self.ends_whole = not rest

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows; a new column is empty in earlier rows."""
        rows = list(rows)
        new = [key for row in rows for key in row if key not in self.columns]
        self.columns += dict.fromkeys(new)
        text = self._format(rows)
        self._rows += csv.DictReader(io.StringIO(text), self.columns)
        if new or not self.path.exists():
            self._replace()
        else:
            with self.path.open("a", newline="") as file:
                file.write(text)

    def rows(self) -> list[dict[str, str]]:
        """Return all rows, cells as text; none if the file did not exist.

        A last line truncated by a crash is not a row.
        """
        return list(self._rows)

    def fingerprint(self, rows: int | None = None) -> Fingerprint:
        """Return number and CRC-32 of the first ``rows`` rows, or of all.

        Empty cells do not count: rows get more of them when a column is added later.
        """
        crc, first = 0, self._rows[:rows]
        for row in first:
            cells = sorted((str(key), str(cell)) for key, cell in row.items() if cell)
            crc = zlib.crc32(repr(cells).encode(), crc)
        return len(first), crc

    def holds(self, known: Fingerprint, timesteps: int) -> bool:
        """Return whether the table begins with known rows, and no row of an earlier step follows.

        :param timesteps: environment steps when they were all
        """
        return self.difference(known, timesteps) is None

    def difference(self, known: Fingerprint, timesteps: int) -> str | None:
        """Return in words why :meth:`holds` is false, such as ``it lacks 2 of the 9 rows that it
        had``; ``None``: it is not."""
        rows, _ = known
        later = self._rows[rows:]
        if self.fingerprint(rows) == known and not any(_step(r) < timesteps for r in later):
            return None
        there = sum(_step(row) <= timesteps for row in self._rows)
        if there < rows:
            return f"it lacks {rows - there} of the {rows} rows that it had"
        if there > rows:
            many = "1 row" if there == rows + 1 else f"{there - rows} rows"
            return f"it has {many} more than the {rows} that it had"
        return f"not all of its {rows} rows are those that it had"

    def count_before(self, timesteps: int) -> int:
        """Return the number of rows of earlier steps, all at the beginning.

        :raises UserError: one of them comes after another row, or one that is damaged
        """
        rows = sum(1 for _ in takewhile(lambda row: _step(row) < timesteps, self._rows))
        if any(_step(row) < timesteps for row in self._rows[rows:]):
            raise UserError(
                f"{self.path}: damaged at row {rows + 1}, which rows of steps before "
                f"{timesteps:,} follow; expected it restored, or the run folder removed to start "
                "over"
            )
        return rows

    def count_after(self, rows: int, timesteps: int) -> int:
        """Return how many rows of a step follow the first ``rows`` rows."""
        following = takewhile(lambda row: _step(row) == timesteps, self._rows[rows:])
        return sum(1 for _ in following)

    def keep(self, rows: int) -> None:
        """Keep the first ``rows`` rows, and drop all others and anything that is not a row."""
        self._rows = self._rows[:rows]
        if self.path.exists():
            self._replace()

    def sync(self) -> bool:
        """Flush the rows to disk.

        :return: whether the file had lost some, or had others, and is written again
        """
        if self._on_disk():
            if self.path.exists():
                sync_file(self.path)
            return False
        self._replace()
        return True

    def _on_disk(self) -> bool:
        try:
            there = Table(self.path, self.columns)
        except UserError:
            return False
        return there.ends_whole and there.fingerprint() == self.fingerprint()

    def _replace(self) -> None:
        header = ",".join(self.columns) + "\n"
        replace_file(self.path, (header + self._format(self._rows)).encode())

    def _format(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writerows(rows)
        return text.getvalue()


def _step(row: Mapping[str, str]) -> float:
    """Return the row's environment steps; NaN for a damaged row."""
    text = row.get("timesteps") or ""
    # Cells beyond the last column have no name.
    return int(text) if text.isdecimal() and None not in row else math.nan
