"""SQL kept in files beside the code that runs it."""

import json
from functools import cache, lru_cache
from importlib.resources import files
from threading import Lock
from typing import Any, NamedTuple

import duckdb
from duckdb import DuckDBPyConnection


@cache
def load(package: str, name: str) -> str:
    """The text of `name` in `package`; `queries/score.sql` names a file in a folder."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def quoted(identifier: str) -> str:
    """`identifier` as SQL reads it, whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a string of SQL, for the statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def value(connection: DuckDBPyConnection, query: str) -> Any:
    """The first value of the first row, None without one. Drained: an unread result blocks its connection."""
    rows = connection.execute(query).fetchall()
    return rows[0][0] if rows else None


@cache
def _nothing() -> DuckDBPyConnection:
    """An empty database. Making one takes ten times as long as parsing a query."""
    return duckdb.connect(config={"threads": 1})


_one_at_a_time = Lock()


def _parser() -> DuckDBPyConnection:
    with _one_at_a_time:
        return _nothing().cursor()


@lru_cache(maxsize=200)
def parsed(query: str) -> Any:
    """DuckDB's parse tree of `query`; None when that is anything but SELECT statements: one may write in a CTE."""
    with _parser() as parser:
        document = json.loads(value(parser, f"select json_serialize_sql({literal(query)})"))
    return None if document["error"] or _writes(document) else document["statements"]


def _writes(tree: Any) -> bool:
    if isinstance(tree, dict):
        return str(tree.get("type", "")).endswith("_QUERY_NODE") or any(map(_writes, tree.values()))
    return isinstance(tree, list) and any(map(_writes, tree))


class Names(NamedTuple):
    """What a parse tree mentions, in lower case: columns, tables with their schemas; whether it takes whole rows."""

    columns: frozenset[str]
    tables: frozenset[str]
    takes_rows: bool


def named(tree: Any) -> Names:
    """The names in a tree of `parsed`. A name with dots counts with each of its parts."""
    columns, alone, tables, aliases, stars = set[str](), set[str](), set[str](), set[str](), False
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            match node.get("type"):
                case "COLUMN_REF":
                    parts = [str(part).lower() for part in node["column_names"]]
                    columns |= set(parts)
                    alone |= set(parts if len(parts) == 1 else [])
                case "BASE_TABLE":
                    tables |= {str(part).lower() for part in node["qualified_name"]["path"]}
                    aliases.add(str(node.get("alias", "")).lower())
                case "STAR" | "POSITIONAL_REFERENCE":
                    stars = True
    return Names(frozenset(columns), frozenset(tables), stars or bool(alone & (tables | aliases)))
