"""The csv files of a run: appended while it goes, cut back when it resumes."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnrl.experiment.durable import replacing, sync_file


class Table:
    """A csv file whose rows carry ``timesteps``. Rows that belong together are written at once.

    :param path: the file; made at the first row
    :param columns: its columns, ``timesteps`` among them; more are added as rows bring them
    """

    def __init__(self, path: Path, columns: Sequence[str] = ("timesteps",)):
        self.path = path
        self.columns = list(columns)
        if path.exists():
            with path.open(newline="", errors="replace") as file:
                self.columns = next(csv.reader(file), self.columns)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; a column that is new is empty in the rows before."""
        rows = list(rows)
        new = [key for row in rows for key in row if key not in self.columns]
        if new:
            self.columns += dict.fromkeys(new)
        if new or not self.path.exists():
            self._replace([*self.rows(), *rows])
        else:
            with self.path.open("a", newline="") as file:
                file.write(self._format(rows))

    def rows(self) -> list[dict[str, str]]:
        """All rows, cells as text; none if the file is not there.

        A last line that a crash cut short is no row.
        """
        if not self.path.exists():
            return []
        whole_lines, _, _ = self.path.read_text(errors="replace").rpartition("\n")
        return list(csv.DictReader(io.StringIO(whole_lines)))

    def fingerprint(self, before: int) -> tuple[int, int]:
        """Number and CRC-32 of the rows of earlier steps.

        Empty cells do not count: rows have more of them when a column is added later.
        """
        crc, rows = 0, [row for row in self.rows() if _step(row) < before]
        for row in rows:
            cells = sorted((str(key), str(cell)) for key, cell in row.items() if cell)
            crc = zlib.crc32(repr(cells).encode(), crc)
        return len(rows), crc

    def cut_after(self, timesteps: int) -> None:
        """Drop the rows of later steps, which a resumed run makes again, and what is no row."""
        if self.path.exists():
            self._replace([row for row in self.rows() if _step(row) <= timesteps])

    def sync(self) -> None:
        """Bring the rows to the disk."""
        if self.path.exists():
            sync_file(self.path)

    def _replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        header = ",".join(self.columns) + "\n"
        replace_file(self.path, (header + self._format(rows)).encode())

    def _format(self, rows: Iterable[Mapping[str, Any]]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writerows(rows)
        return text.getvalue()


def _step(row: Mapping[str, str]) -> float:
    """The row's environment steps; infinite for one that is damaged."""
    text = row.get("timesteps") or ""
    return int(text) if text.isdecimal() else math.inf


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that at every moment it is either the old one or the new one, whole."""
    with replacing(path) as file:
        file.write(content)
