"""``DONE``: the mark of a finished run, which tells how far it came and what its files were."""

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
    """Mark a run as done, with its files as they are.

    :param timesteps: environment steps, of which the last evaluation is
    :param kernel: what computed the networks
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
        raise UserError(f"{file}: cannot be read; remove it to go on from the checkpoint") from None


def seal(folder: Path) -> dict[str, tuple[int, int]]:
    """Length and CRC-32 of each file of ``SEALED`` that is there."""
    return {name: _sum(folder / name) for name in SEALED if (folder / name).is_file()}


def check_sealed(folder: Path, names: Collection[str] = SEALED) -> None:
    """Check that files are as they were when the run was done, as far as they are there.

    :raises UserError: one of them is not, or ``DONE`` cannot be read
    """
    for name, expected in read_done(folder).files.items():
        file = folder / name
        if name in names and file.exists() and not _is(file, expected):
            raise UserError(
                f"{file}: damaged, not as it was when the run was done; expected it back"
            )


def _is(file: Path, expected: tuple[int, int]) -> bool:
    try:
        return file.is_file() and _sum(file) == expected
    except OSError:
        return False


def _sum(file: Path) -> tuple[int, int]:
    content = file.read_bytes()
    if file.suffix not in (".zip", ".png"):
        # A checkout with other ends of lines is the same.
        content = content.replace(b"\r\n", b"\n")
    return len(content), zlib.crc32(content)
