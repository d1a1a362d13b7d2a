"""Findings of one check, written at once, so that an interrupted check leaves them on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Findings:
    """Named values, and the expectations that did not hold.

    :param file: JSON file to write them to; ``None``: none
    """

    def __init__(self, file: Path | None):
        self._file = file
        self.values: dict[str, Any] = {}
        self.failed: list[str] = []

    def note(self, name: str, value: Any) -> None:
        """Record a value."""
        print(f"{name}: {value}", flush=True)
        self.values[name] = value
        if self._file is not None:
            content = {"values": self.values, "failed": self.failed}
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(content, indent=1) + "\n")
            new.replace(self._file)

    def expect(self, name: str, holds: bool, value: Any = None) -> None:
        """Record whether something holds, with the value found if it does not."""
        if not holds:
            self.failed.append(name)
        self.note(name, holds if holds or value is None else value)
