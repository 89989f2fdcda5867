"""What a view is: a name, the keys it is recomputed by, and one SELECT."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from projections import sql

IN_SCOPE = {
    "candidate_id": "candidate_id in (select candidate_id from scope_records)",
    "canonical_id": "canonical_id in (select canonical_id from scope_persons)",
    "pool_id": "pool_id in (select pool_id from scope_pools)",
}
"""By key: the rows that a batch affects."""


def nothing(_connection: DuckDBPyConnection) -> None:
    """The preparation of a view that needs none."""


@dataclass(frozen=True, slots=True)
class View:
    """A stored table that always equals `view.sql` over the events held.

    `keys` name the columns by which rows are recomputed: when an event touches a value of a key, every row
    with that value is computed anew. `types` are the events that `view.sql` looks at, beyond a person's first and
    what the views in `depends_on` look at, whose tables it reads; None is every type. `constants` is whatever else
    the result depends on, put into the database by `prepare`.
    """

    name: str
    keys: tuple[str, ...]
    types: frozenset[str] | None = None
    version: int = 1
    schema: str = "main"
    depends_on: tuple["View", ...] = ()
    constants: str = ""
    prepare: Callable[[DuckDBPyConnection], None] = nothing

    def looks_at(self, types: frozenset[str]) -> bool:
        """Whether events of these types can change the contents."""
        return self.types is None or bool(self.types & types) or any(v.looks_at(types) for v in self.depends_on)

    @property
    def table(self) -> str:
        """The stored table, as SQL names it."""
        return f"{sql.quoted(self.schema)}.{sql.quoted(self.name)}"

    @property
    def definition(self) -> str:
        """A hash that changes whenever the contents may."""
        package = f"projections.{self.name}"
        parts = [
            str(self.version),
            self.constants,
            sql.load(package, "schema.sql"),
            sql.load(package, "view.sql"),
            sql.load("projections.scope", "joined.sql"),
            sql.load("projections.scope", "scope.sql"),
            *(view.definition for view in self.depends_on),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def create(self, connection: DuckDBPyConnection) -> None:
        """An empty table in the place of the one there is."""
        connection.execute("drop table if exists " + self.table)
        connection.execute(sql.load(f"projections.{self.name}", "schema.sql"))

    def compute(self, connection: DuckDBPyConnection) -> None:
        """Add the rows in scope."""
        select = sql.load(f"projections.{self.name}", "view.sql")
        connection.execute("insert into " + self.table + " by name\n" + select)

    def refresh(self, connection: DuckDBPyConnection) -> None:
        """Compute the rows in scope anew."""
        affected = " and ".join(IN_SCOPE[key] for key in self.keys)
        connection.execute("delete from " + self.table + " where " + affected)  # noqa: S608 - both are our own words
        self.compute(connection)
