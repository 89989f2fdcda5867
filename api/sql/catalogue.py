"""What there is to ask: tables, views and macros of the node's database, and the functions of DuckDB that are open."""

from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from api.sql.rights import Rights
from projections import sql

CLOCK_AND_CHANCE = frozenset(
    {
        *("now", "today", "transaction_timestamp", "get_current_time", "get_current_timestamp", "current_date"),
        *("current_localtime", "current_localtimestamp"),
        *("random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid"),
    }
)
"""Functions that DuckDB does not call consistent, and that read nothing but the clock or a source of chance."""

CLOSED = frozenset(
    {
        *("json_serialize_plan", "json_serialize_sql", "json_deserialize_sql"),  # take SQL, and one of them binds it
        *("get_block_size", "index_key"),  # look into the database by the name of a table, which is text
        *("current_query", "current_catalog", "current_database"),
    }
)
"""Functions that DuckDB calls consistent, or are macros, and read more than their arguments."""

BEYOND_THE_CATALOGUE = frozenset({"unnest", "grouping", "grouping_id"})
"""What the parser or binder knows as a function, and the catalogue does not."""

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
"""Table functions that make rows of their arguments. All others read files, settings, the log or other statements."""


@dataclass(frozen=True)
class Catalogue:
    """Names in lower case: tables and views, macros that give a value, and macros that give rows, as (schema, name)."""

    database: str
    relations: frozenset[tuple[str, str]]
    value_macros: frozenset[tuple[str, str]]
    row_macros: frozenset[tuple[str, str]]


def catalogue(cursor: DuckDBPyConnection) -> Catalogue:
    """Of the database that `cursor` reads, as it stands in its transaction."""
    macros = cursor.execute(sql.load("api.sql", "queries/macros.sql")).fetchall()
    relations = cursor.execute(sql.load("api.sql", "queries/relations.sql")).fetchall()
    return Catalogue(
        database=folded(sql.value(cursor, "select current_database()")),
        relations=frozenset((folded(schema), folded(name)) for schema, name in relations),
        value_macros=frozenset((folded(schema), folded(name)) for schema, name, gives_rows in macros if not gives_rows),
        row_macros=frozenset((folded(schema), folded(name)) for schema, name, gives_rows in macros if gives_rows),
    )


def functions(cursor: DuckDBPyConnection) -> frozenset[str]:
    """DuckDB's own functions that are open to queries.

    An allow-list, but not one written by hand: the thousand functions that DuckDB declares to depend on nothing but
    their arguments. A new version's additions are open when they are harmless, and closed when they read settings,
    sequences, the log or the session, for those it declares volatile, or consistent within one query only.
    """
    return _names(cursor, "built_in") - CLOSED | CLOCK_AND_CHANCE | BEYOND_THE_CATALOGUE


def system_names(cursor: DuckDBPyConnection) -> frozenset[str]:
    """Names of DuckDB's own views that need no schema before them."""
    return _names(cursor, "system_names")


def describe(cursor: DuckDBPyConnection, rights: Rights, name: str | None = None) -> list[dict[str, Any]]:
    """Tables, views and macros open to `rights`; with `name` (bare or with its schema) those of that name."""
    cursor.execute(sql.load("api.sql", "queries/describe.sql"), {"schemas": list(rights.schemas), "name": name})
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def folded(name: str) -> str:
    """The name as DuckDB compares it: ASCII letters without case, all others as they are."""
    return name.encode().lower().decode()


_of_duckdb: dict[str, frozenset[str]] = {}
"""What is the same in every database of this process."""


def _names(cursor: DuckDBPyConnection, query: str) -> frozenset[str]:
    if query not in _of_duckdb:
        found = cursor.execute(sql.load("api.sql", f"queries/{query}.sql")).fetchall()
        _of_duckdb[query] = frozenset(folded(name) for (name,) in found)
    return _of_duckdb[query]
