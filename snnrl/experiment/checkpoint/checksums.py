"""Whether a file is the one that was written."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

BLOCK = 1 << 20


class Checksum(NamedTuple):
    """Length and CRC-32 of a file's bytes.

    CRC-32 finds every error within 32 neighbouring bits and misses one in four billion others. It
    is no protection against somebody who means harm, and several times faster than what is.

    :param size: bytes
    :param crc32: as :func:`zlib.crc32`
    """

    size: int
    crc32: int


class Damaged(Exception):
    """A file is not as it was written; the message says which and how."""


def checksum(path: Path) -> Checksum:
    """Length and CRC-32 of a file.

    :raises OSError: it cannot be read
    """
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return Checksum(size, crc)


def check(path: Path, expected: Checksum) -> None:
    """Hold a file against what was written.

    :raises Damaged: it is gone, cannot be read, or has other contents
    """
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise Damaged(f"{path.name} has {size:,} bytes in place of {expected.size:,}")
        found = checksum(path)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except OSError as problem:
        raise Damaged(f"{path.name} cannot be read ({problem.strerror})") from None
    if found != expected:
        raise Damaged(f"{path.name} has another checksum than when it was written")
