"""Damage to a nats-server's files, as disks and people do it: to the bit, knowing which message it hits."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<IQQH")  # length, seq, time in ns, length of the subject
_ERASED = 1 << 63
_HAS_HEADER = 1 << 31


class Place(NamedTuple):
    """Where a stored message lies."""

    path: Path
    start: int
    end: int


def stream_folder(data: Path, name: str = "LEDGER") -> Path:
    """A stream's own folder below the folder of an embedded server's node."""
    return data / "nats" / "jetstream" / "RAPPORT" / "streams" / name


def blocks(data: Path, name: str = "LEDGER") -> list[Path]:
    """The stream's files of messages, in order."""
    return sorted((stream_folder(data, name) / "msgs").glob("*.blk"), key=lambda path: int(path.stem))


def places(data: Path, name: str = "LEDGER") -> Iterator[tuple[int, Place]]:
    """Every message of the stream that lies on disk, with its seq."""
    for path in blocks(data, name):
        content, start = path.read_bytes(), 0
        while start < len(content):
            length, seq, _, _ = _HEAD.unpack_from(content, start)
            end = start + (length & ~_HAS_HEADER)
            if not seq & _ERASED:
                yield seq, Place(path, start, end)
            start = end


def flip_bit(data: Path, seq: int, name: str = "LEDGER") -> None:
    """One bit in the body of one message."""
    place = dict(places(data, name))[seq]
    at = place.end - 40  # behind the body lies a checksum of eight bytes
    with place.path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def cut(data: Path, seq: int, name: str = "LEDGER") -> int:
    """The block that holds `seq` ends in the middle of it; the last seq that lay in this block."""
    found = dict(places(data, name))
    place = found[seq]
    os.truncate(place.path, (place.start + place.end) // 2)
    return max(other for other, p in found.items() if p.path == place.path)


def swap(data: Path, other: Path, name: str = "LEDGER") -> None:
    """The stream's folder is replaced by that of another data folder."""
    shutil.rmtree(stream_folder(data, name))
    shutil.copytree(stream_folder(other, name), stream_folder(data, name))
