"""A connection on which the names of the mirror and the views stand for other tables than usual."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count

import duckdb
from duckdb import DuckDBPyConnection

from projections import sql

_numbers = count(1)


@dataclass(frozen=True)
class Overlay:
    """An in-memory database laid over the file's: `identity`, `pii.facts` and so on are looked up in it."""

    connection: DuckDBPyConnection
    name: str
    database: str

    def below(self, table: str) -> str:
        """The table of the file, by a name that nothing lies over; `table` is quoted with its schema."""
        return f"{sql.quoted(self.database)}.{table}"

    def above(self, table: str) -> str:
        """A table of the overlay itself."""
        return f"{sql.quoted(self.name)}.{table}"

    def point(self, table: str, select: str) -> None:
        """From now on `table` shows what `select` does."""
        self.connection.execute(f"create or replace view {self.above(table)} as {select}")

    @contextmanager
    def used(self) -> Iterator[None]:
        """Until the block ends, names are looked up in the overlay. An error ends the transaction, if there is one."""
        before: str = sql.value(self.connection, "select current_database()")
        self.connection.execute(f"use {self.name}")
        try:
            yield
        except BaseException:
            with suppress(duckdb.TransactionException):  # a transaction that failed takes nothing but its end
                self.connection.rollback()
            raise
        finally:
            self.connection.execute(f"use {sql.quoted(before)}")

    def detach(self) -> None:
        """Forget it. Nobody uses it any more."""
        self.connection.execute(f"detach {self.name}")


def attach(connection: DuckDBPyConnection, database: str, purpose: str = "overlay") -> Overlay:
    """A new overlay of the file's `database`, not used yet, which shows the file's tables until told otherwise.

    SQL views of the file are not in it, beside `events` and `ops.broken`.
    """
    over = Overlay(connection, f"{purpose}_{next(_numbers)}", database)
    tables = connection.execute(
        sql.load("projections.catalogue", "overlay_tables.sql"), {"database": database}
    ).fetchall()
    connection.execute(f"attach ':memory:' as {over.name}")
    for schema in ("pii", "ops"):
        connection.execute(f"create schema {over.name}.{schema}")
    for schema, table in tables:
        name = f"{sql.quoted(schema)}.{sql.quoted(table)}"
        over.point(name, f"from {over.below(name)}")
    return over


@contextmanager
def overlay(connection: DuckDBPyConnection) -> Iterator[Overlay]:
    """A new overlay of the database in use, used until the block ends and forgotten then."""
    over = attach(connection, sql.value(connection, "select current_database()"))
    try:
        with over.used():
            yield over
    finally:
        over.detach()
