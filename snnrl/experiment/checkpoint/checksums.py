"""Checksums of files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

BLOCK = 1 << 20


class Checksum(NamedTuple):
    """Length and CRC-32 of a file's bytes.

    CRC-32 detects every error within 32 neighbouring bits and misses one in four billion others. It
    does not protect against tampering, but is several times faster than hashes that do.

    :param size: bytes
    :param crc32: as :func:`zlib.crc32`
    """

    size: int
    crc32: int


class Damaged(Exception):
    """A file has changed since it was written; the message names it and the change."""


def checksum(path: Path) -> Checksum:
    """Return length and CRC-32 of a file.

    :raises OSError: it cannot be read
    """
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return Checksum(size, crc)


def check(path: Path, expected: Checksum) -> None:
    """Compare a file with its recorded checksum.

    :raises Damaged: it is missing, cannot be read, or has other contents
    """
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise Damaged(f"{path.name} has {size:,} bytes instead of {expected.size:,}")
        found = checksum(path)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except OSError as problem:
        raise Damaged(f"{path.name} cannot be read ({problem.strerror})") from None
    if found != expected:
        raise Damaged(f"{path.name} has changed since it was written (its checksum differs)")
