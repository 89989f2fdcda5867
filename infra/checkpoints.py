"""Signed checkpoints on disk: `history`, every note ever signed, one behind the other, and `latest`, the last of them.

One file that is only appended to, rather than a file a note: at a note a minute a year would leave half a million
files, each of which takes a block of the disk for its 200 bytes. `latest` is for others to pick up, and is replaced
whole; `vkey` is the key to verify it with, to be published.
"""

import errno
import os
from pathlib import Path
from typing import IO

from domain.checkpoint import NoteMalformed
from infra.replacing import sync

END = b"\n\n\n"
"""Behind each note of the history; no note ends or goes on like this."""
LAST_BYTES = 64 * 1024
"""No note is longer."""


class Checkpoints:
    """The notes in a folder, which is made when the first one is added. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._history = folder / "history"

    def last(self) -> str | None:
        """The last note that was signed; None when none was.

        One that was being written when the node died counts as never signed: nobody was given it. Raises NoteMalformed
        when the history does not end in a note, OSError.
        """
        try:
            with self._history.open("rb") as file:
                return self._end(file)[1]
        except FileNotFoundError:
            return None

    def add(self, note: str, vkey: str) -> None:
        """Keeps `note` as the last one, durably, and beside it the key to verify it with.

        Raises NoteMalformed, or OSError: then the one before is the last.
        """
        folder = self._history.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._history, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            end, _ = self._end(file)
            file.truncate(end)  # what a write that failed half-way left
            file.seek(end)
            try:
                _write(file, note.encode() + END[1:])
            except OSError:
                file.truncate(end)
                raise
        _replace(folder / "latest", note.encode())
        _replace(folder / "vkey", vkey.encode() + b"\n")
        sync(folder)

    def _end(self, file: IO[bytes]) -> tuple[int, str | None]:
        """Where the last whole note of the history ends, and that note."""
        size = file.seek(0, os.SEEK_END)
        first = file.seek(max(0, size - LAST_BYTES))
        notes, end, _ = file.read().rpartition(END)
        if not end:
            if first:
                raise NoteMalformed(f"{self._history} does not end in a signed note; put it back from a copy")
            return 0, None
        try:
            return first + len(notes) + len(END), (notes.rpartition(END)[2] + END[:1]).decode()
        except UnicodeDecodeError:
            raise NoteMalformed(f"{self._history} does not end in a signed note; put it back from a copy") from None


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb", buffering=0) as file:
        _write(file, content)
    beside.replace(path)


def _write(file: IO[bytes], content: bytes) -> None:
    if file.write(content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())
