"""SQL for people: one SELECT at a time, on the views, nothing else."""

from threading import BoundedSemaphore, Timer
from typing import Any

import duckdb
import orjson
import pyarrow as pa

MAX_SECONDS = 60.0
MAX_ROWS = 1_000_000


AT_ONCE = 8
"""Queries that run at the same time; more would keep everything else from being answered."""

_running = BoundedSemaphore(AT_ONCE)


class QueriesBusy(Exception):
    """As many queries run as may."""


class QueryRefused(Exception):
    """Not a single SELECT, or DuckDB cannot make sense of it, or it takes too much."""


def select(cursor: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The result of one SELECT statement.

    Raises QueryRefused for anything that is not one, fails, takes longer than `MAX_SECONDS` or has more than
    `MAX_ROWS` rows.
    """
    try:
        statements = cursor.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(_first_line(error)) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryRefused("only a single SELECT is taken here")
    if not _running.acquire(blocking=False):
        raise QueriesBusy(f"{AT_ONCE} queries run already; try again shortly")
    timer = Timer(MAX_SECONDS, cursor.interrupt)
    # A statement that counts as SELECT may still write (a data-modifying CTE); the transaction does not let it.
    cursor.execute("begin transaction read only")
    timer.start()
    try:
        relation = cursor.sql(statements[0])
        if relation is None:
            raise QueryRefused("only a statement with an answer is taken here")
        table = relation.limit(MAX_ROWS + 1).to_arrow_table()
        if table.num_rows > MAX_ROWS:
            raise QueryRefused(f"the answer has more than {MAX_ROWS:,} rows; add a LIMIT or aggregate")
        return table
    except duckdb.InterruptException:
        raise QueryRefused(f"the query took longer than {MAX_SECONDS:g} s and was stopped") from None
    except duckdb.Error as error:
        raise QueryRefused(_first_line(error)) from None
    finally:
        timer.cancel()
        cursor.execute("rollback")
        _running.release()


def as_json(table: pa.Table) -> bytes:
    """The rows as a JSON array of objects; times in RFC 3339, bytes in hexadecimal."""
    return orjson.dumps(rows(table), default=_plain, option=orjson.OPT_NON_STR_KEYS)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python values. Raises QueryRefused for a time that Python cannot hold."""
    try:
        found: list[dict[str, Any]] = table.to_pylist()
        return found
    except (OverflowError, ValueError):
        raise QueryRefused("the answer holds a time outside the calendar; select it as text: ::varchar") from None


def text(value: object) -> str:
    """One value as text: JSON for lists and structures, hexadecimal for bytes."""
    return value.hex() if isinstance(value, bytes) else orjson.dumps(value, default=_plain).decode()


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n\n")[0].replace("\n", " ")
