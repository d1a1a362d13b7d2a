"""Manifest of a checkpoint: its files and their checksums."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from snnrl.errors import UserError
from snnrl.experiment.checkpoint.checksums import Checksum, Damaged, check
from snnrl.experiment.checkpoint.replay_segments import Segment
from snnrl.run_format.durable import replacing

FORMAT = 1
"""Format version; increased when earlier checkpoints can no longer be read."""

NAME = "manifest.json"
REPLAY = "replay"


class Manifest(NamedTuple):
    """Files of one checkpoint.

    :param run: id of the run
    :param step: environment steps of the checkpoint
    :param files: name in the checkpoint's own folder -> checksum
    :param segments: segments of the replay buffer, oldest first, in a folder shared by the
        checkpoints
    """

    run: str
    step: int
    files: dict[str, Checksum]
    segments: list[Segment]


def numbered(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in a folder by number, newest first, including damaged ones."""
    found = {}
    for path in folder.glob("save-*"):
        number = path.name.removeprefix("save-")
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items(), reverse=True))


def write_manifest(save: Path, manifest: Manifest) -> None:
    """Write the manifest of the checkpoint in ``save``."""
    content = {"format": FORMAT, **manifest._asdict()}
    with replacing(save / NAME) as file:
        file.write(json.dumps({**content, "crc32": _crc32(content)}, indent=1).encode())


def read_manifest(save: Path) -> Manifest:
    """Read the manifest of the checkpoint in ``save``, without checking its files.

    :raises Damaged: it has changed since it was written
    :raises UserError: another version of this package wrote it
    """
    try:
        content = json.loads((save / NAME).read_bytes())
        intact = content.pop("crc32") == _crc32(content)
    except FileNotFoundError:
        raise Damaged(f"{NAME} is missing") from None
    except OSError as problem:
        raise Damaged(f"{NAME} cannot be read ({problem.strerror})") from None
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise Damaged(f"{NAME} has changed since it was written")
    if content.pop("format") != FORMAT:
        raise version_error(save)
    return Manifest(
        content["run"],
        content["step"],
        {name: Checksum(*values) for name, values in content["files"].items()},
        [Segment(first, last, Checksum(*c)) for first, last, c in content["segments"]],
    )


def check_files(save: Path, manifest: Manifest) -> None:
    """Compare every file of a checkpoint with its checksum.

    :raises Damaged: naming the first file that differs
    """
    for path, expected in _files(save, manifest):
        check(path, expected)


def newest_intact(folder: Path) -> tuple[Path, Manifest, list[str]] | None:
    """Return the newest checkpoint whose files have not changed since they were written.

    :raises UserError: another version of this package wrote the checkpoints
    :return: its folder, its manifest and the fault of each newer one; ``None`` if there is no
        checkpoint
    :raises Damaged: there are checkpoints, and none is whole
    """
    found = []
    for save in numbered(folder).values():
        try:
            manifest = read_manifest(save)
            check_files(save, manifest)
        except Damaged as problem:
            found.append(f"{save.name}: {problem}")
        else:
            return save, manifest, found
    if found:
        raise Damaged("; ".join(found))
    return None


def version_error(folder: Path) -> UserError:
    """Return the error to raise for a checkpoint of another version."""
    return UserError(
        f"{folder}: was written by another version; remove the run folder to start over"
    )


def _files(save: Path, manifest: Manifest) -> Iterator[tuple[Path, Checksum]]:
    for name, expected in manifest.files.items():
        yield save / name, expected
    for segment in manifest.segments:
        yield save.parent / REPLAY / segment.name, segment.checksum


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
