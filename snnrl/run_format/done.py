"""``DONE``: mark of a finished run, with its steps and checksums of its files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from snnrl.errors import UserError
from snnrl.run_format.bounds import MOST_STEPS
from snnrl.run_format.documents import read_mapping
from snnrl.run_format.durable import write_text
from snnrl.run_format.names import DONE, SEALED


class Done(NamedTuple):
    """A finished run.

    :param timesteps: environment steps, of which the last evaluation is
    :param files: length and CRC-32 of each file of ``SEALED``; empty in the folders of earlier
        versions and of other programs
    """

    timesteps: int
    files: dict[str, tuple[int, int]]


def write_done(folder: Path, timesteps: int, kernel: str) -> None:
    """Mark a run as done, with its current files.

    :param timesteps: environment steps, of which the last evaluation is
    :param kernel: kernel that computed the networks
    """
    done = {"timesteps": timesteps, "kernel": kernel, "files": seal(folder)}
    write_text(folder / DONE, json.dumps(done))


def read_done(folder: Path) -> Done:
    """Read ``DONE``.

    :raises UserError: it cannot be read
    """
    file = folder / DONE
    try:
        content = read_mapping(file)
        files = {name: (size, crc) for name, (size, crc) in content.get("files", {}).items()}
        steps = content["timesteps"]
        if not isinstance(steps, int) or not 0 <= steps <= MOST_STEPS:
            raise ValueError
        return Done(steps, files)
    except (UserError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{file}: cannot be read; remove it to resume from the checkpoint"
        ) from None


def seal(folder: Path) -> dict[str, tuple[int, int]]:
    """Return length and CRC-32 of each existing file of ``SEALED``."""
    return {name: _sum(folder / name) for name in SEALED if (folder / name).is_file()}


def check_sealed(folder: Path, names: Collection[str] = SEALED) -> None:
    """Check that existing files have not changed since the run was done.

    :raises UserError: one of them is not, or ``DONE`` cannot be read
    """
    for name, expected in read_done(folder).files.items():
        file = folder / name
        if name in names and file.exists() and not _matches(file, expected):
            raise UserError(
                f"{file}: damaged (it has changed since the run was done); expected it restored"
            )


def _matches(file: Path, expected: tuple[int, int]) -> bool:
    try:
        return file.is_file() and _sum(file) == expected
    except OSError:
        return False


def _sum(file: Path) -> tuple[int, int]:
    content = file.read_bytes()
    if file.suffix not in (".zip", ".png"):
        # A checkout with different line endings is the same.
        content = content.replace(b"\r\n", b"\n")
    return len(content), zlib.crc32(content)
