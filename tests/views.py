"""The views' file of an empty ledger, made once a test process: making one takes half a second of a core."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from infra.duckdb import open_database
from infra.settings import Settings
from projections import Projector, mirror


def empty_views(path: Path) -> Path:
    """`path`, where there is now a file of views over no events, as a node's first start makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_made(mirror.shown_as()), path)
    return path


def with_empty_views(data: Path) -> Path:
    """The data folder, with such a file in it if there is nothing in it yet."""
    if not data.exists() or not any(data.iterdir()):
        empty_views(Settings(data=data).database)
    return data


@cache
def _made(_shown_as: str) -> Path:
    """One for each set of schema versions that a test makes up."""
    folder = tempfile.TemporaryDirectory(prefix="rapport-views-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "views.duckdb"
    with closing(open_database(path)) as database:
        Projector(database)
    return path
