"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to. It takes the place of `target`, durably, when the block ends without error.

    What an attempt that was killed left there is removed first, what this one leaves when it fails, afterwards. One
    process at a time.
    """
    beside = target.with_name(f".{target.name}.new")
    _remove(beside)
    try:
        yield beside
        sync(beside)
        beside.replace(target)
    except BaseException:
        _remove(beside)
        raise
    sync(target.parent)


def discard(target: Path) -> None:
    """Removes what an attempt to replace `target` left that was killed."""
    _remove(target.with_name(f".{target.name}.new"))


def _remove(path: Path) -> None:
    for leftover in (path, path.with_name(path.name + ".wal")):
        with suppress(FileNotFoundError):
            leftover.unlink()


def sync(path: Path) -> None:
    """What was written to a file, or which files a folder has, is on disk when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
