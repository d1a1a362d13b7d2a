"""Whether a folder can be written to, before work that takes minutes, and writing to it after."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from snnrl.errors import UserError
from snnrl.run_format.durable import replace_file


def check_place(path: Path, given: str, files: Iterable[str] = ()) -> None:
    """Check that a folder can be written to, or be made.

    :param path: the folder
    :param given: the setting and its value, for the error
    :param files: names of the files that will be written or replaced there
    :raises UserError: it cannot, or a folder has one of the names
    """
    try:
        existing = next(part for part in [path, *path.absolute().parents] if part.exists())
    except OSError as problem:
        raise UserError(f"{given}: cannot write there ({problem.strerror})") from None
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{given}: expected a folder to write to, and {existing} is not")
    for name in files:
        if (path / name).is_dir():
            raise UserError(f"{given}: expected to write the file {path / name}, which is a folder")


def write_files(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write files that are complete, each at once, into the folder that ``--out`` names.

    :param contents: by name
    :raises UserError: they cannot be written
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, each in contents.items():
            replace_file(out / name, each)
    except OSError as problem:
        raise UserError(f"--out {out}: expected a folder to write to ({problem})") from None
