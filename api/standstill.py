"""Why views stand still, or soon may, in one sentence with the way out."""

import shutil
from pathlib import Path

import duckdb

from projections.upkeep import FAULTS

NO_SPACE = ("no space left on device", "disk quota exceeded")
SHUT = "database has been invalidated"


def is_full(error: BaseException) -> bool:
    """Whether it is a disk without room that `error` is about, or what was being done about it came of that."""
    said = str(error).lower()
    return any(sign in said for sign in NO_SPACE) or (error.__context__ is not None and is_full(error.__context__))


def sentence_of(error: BaseException, database: Path) -> str:
    """What stopped the writing of `database`; a full disk is named, with what to do about it."""
    if is_full(error):
        return (
            f"the disk that holds {database.absolute()} is full; make room on it, or stop the node and move its data "
            "folder to a larger one: the views go on by themselves then, and nothing is lost"
        )
    if SHUT in str(error):
        return f"DuckDB has shut {database.absolute()}, which is being opened again; restart the node if that lasts"
    if isinstance(error, duckdb.Error) and not isinstance(error, FAULTS):
        return f"{type(error).__name__} in {database.absolute()}"  # its text may quote what is personal
    return str(error).strip().partition("\n")[0] or type(error).__name__


def shortage(data: Path, least_mb: int) -> str | None:
    """What is said when the disk that holds `data` has less than so many 10^6 bytes left; None when it has more."""
    try:
        left_mb = shutil.disk_usage(data).free // 1_000_000
    except OSError as error:
        return f"the data folder {data.absolute()} cannot be looked at: {error.strerror}"
    if left_mb >= least_mb:
        return None
    return (
        f"{left_mb:,} MB are free on the disk that holds {data.absolute()}, and RAPPORT_MIN_FREE_MB asks for "
        f"{least_mb:,}; make room on it"
    )
