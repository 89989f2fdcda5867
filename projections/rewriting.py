"""The file written anew: what DuckDB deletes or changes stays in the file's free blocks until then."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from projections import sql
from projections.rebuilding import discard
from projections.transaction import transaction

if TYPE_CHECKING:
    from projections.projector import Projector

_NAME = "written_anew"


def is_needed(projector: "Projector") -> bool:
    """Whether somebody was erased whose personal data the file had, and may still have in blocks it does not use."""
    with closing(projector.cursor()) as cursor:
        return bool(sql.value(cursor, sql.load("projections.mirror", "queries/to_rewrite.sql")))


def rewritten_up_to(projector: "Projector") -> int:
    """The ledger position up to which the file holds nothing any more of whoever was erased."""
    with closing(projector.cursor()) as cursor:
        seq: int = sql.value(cursor, sql.load("projections.mirror", "queries/rewritten.sql"))
    return seq


def rewrite(projector: "Projector", target: Path) -> int:
    """Write everything the file holds into `target`, which there is none of; up to which ledger position that goes.

    Readers and the projector go on meanwhile. Whoever opens `target` in the file's place follows the ledger from there.
    """
    with projector.build_lock, projector.lock:
        discard(projector.connection)  # tables half built may have what the views have forgotten
    with closing(projector.cursor()) as cursor:
        database: str = sql.value(cursor, "select current_database()")
        cursor.execute(f"attach {sql.literal(str(target))} as {_NAME}")
        try:
            with transaction(cursor):
                seq: int = sql.value(cursor, "select views_seq from ops.checkpoint")
                cursor.execute(f"copy from database {sql.quoted(database)} to {_NAME}")
                cursor.execute(f"update {_NAME}.ops.rewritten set seq = $seq", {"seq": seq})  # noqa: S608 - our own name
        finally:
            cursor.execute(f"detach {_NAME}")
    return seq
