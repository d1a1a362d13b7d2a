"""A writer of recordings of events: the AEDAT 4 format of inivation, uncompressed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

EVENT = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("on", "?"), ("pad", "V3")])

DESCRIPTION = """<dv version="2.0"><node name="outInfo"><node name="0">
<attr key="typeIdentifier" type="string">EVTS</attr>
<node name="info">
<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>
</node></node></node></dv>"""


def write_aedat4(file: Path, events: np.ndarray, packet: int = 100) -> None:
    """Write a recording.

    :param events: rows of t in microseconds, x, y and polarity, ``[n, 4]``
    :param packet: events of a packet
    """
    rows = np.zeros(len(events), EVENT)
    for name, column in zip(("t", "x", "y", "on"), np.asarray(events).T, strict=True):
        rows[name] = column
    content = b"#!AER-DAT4.0\r\n"
    text = DESCRIPTION.encode()
    content += _flatbuffer(b"IOHE", slot=2, vector=struct.pack("<I", len(text)) + text + b"\0")
    for start in range(0, len(rows), packet):
        part = rows[start : start + packet]
        body = _flatbuffer(b"EVTS", slot=0, vector=struct.pack("<I", len(part)) + part.tobytes())
        content += struct.pack("<II", 0, len(body)) + body
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _flatbuffer(identifier: bytes, slot: int, vector: bytes) -> bytes:
    """A buffer with its size, whose table has one field: a vector, whose elements start at a
    multiple of 8 bytes."""
    vtable = struct.pack("<HH", 4 + 2 * (slot + 1), 8) + b"\0\0" * slot + struct.pack("<H", 4)
    # Behind the size: offset of the table, identifier, vtable, table (offset of its vtable, of the
    # vector).
    table = 8 + len(vtable) + (-len(vtable) % 4)
    at = table + 8
    at += (-(at + 8)) % 8
    body = struct.pack("<I", table) + identifier + vtable
    body = body.ljust(table, b"\0") + struct.pack("<iI", table - 8, at - table - 4)
    body = body.ljust(at, b"\0") + vector
    return struct.pack("<I", len(body)) + body
