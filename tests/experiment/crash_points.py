"""A crash at any point of what changes the disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.experiment.stopped import Crash

CHANGES = ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


class CrashPoints:
    """Counts the changes of the disk and crashes before one of them, or in the middle of a write.

    :param at: number of the change, from 0
    """

    def __init__(self, at: int):
        self.at = at
        self.seen: list[str] = []
        self.active = True

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch until ``monkeypatch`` is undone."""
        for name in CHANGES:
            monkeypatch.setattr(os, name, self._before(name, getattr(os, name)))
        monkeypatch.setattr(Path, "open", self._opening(Path.open))

    def meet(self, name: str) -> None:
        """Count a change."""
        if not self.active:
            return
        self.seen.append(name)
        if len(self.seen) > self.at:
            # What a dead process leaves undone.
            self.active = False
            raise Crash(name)

    def _before(self, name: str, change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*args: Any, **kwargs: Any) -> Any:
            self.meet(name)
            return change(*args, **kwargs)

        return changing

    def _opening(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def opening(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode not in ("wb", "xb"):
                return original(path, mode, *args, **kwargs)
            self.meet("open")
            return io.BufferedWriter(Torn(path, self))

        return opening


class Torn(io.FileIO):
    """A file of which a crash leaves half of what was written last."""

    def __init__(self, path: Path, points: CrashPoints):
        super().__init__(path, "w")
        self.points = points

    def write(self, data: Any) -> int:
        try:
            self.points.meet("write")
        except Crash:
            super().write(memoryview(data)[: len(data) // 2])
            raise
        return super().write(data)
