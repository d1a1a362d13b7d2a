"""A file is the old one or the new one, wherever a crash meets the writing."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from snnrl.run_format.durable import replace_file, replacing
from snnrl.run_format.table import Table
from tests.experiment.crash_points import CrashPoints
from tests.experiment.stopped import Crash

OLD, NEW = b"old" * 10, b"new" * 100


def test_a_crash_leaves_one_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for at in count():
        path = tmp_path / f"{at}.zip"
        path.write_bytes(OLD)
        points = CrashPoints(at)
        with monkeypatch.context() as patched, suppress(Crash):
            points.install(patched)
            replace_file(path, NEW)
        found.append(path.read_bytes())
        if points.active:
            break
    assert points.seen == ["open", "write", "fsync", "replace", "fsync"]
    assert found == [OLD] * 4 + [NEW] * 2


def test_a_disk_that_is_full_keeps_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "model.zip"
    path.write_bytes(OLD)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"), replacing(path) as file:
        file.write(NEW)
    assert [p.name for p in tmp_path.iterdir()] == ["model.zip"]
    assert path.read_bytes() == OLD


def test_rows_are_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(tmp_path / "progress.csv")
    table.sync()  # nothing there
    table.append([{"timesteps": 1}])
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    table.append([{"timesteps": 2}])
    assert synced == []
    table.sync()
    assert synced == [str(tmp_path / "progress.csv")]
