"""Which schemas a statement names, for the access log: told of what is refused, too."""

import json
from typing import Any

import duckdb
from duckdb import DuckDBPyConnection

from api.sql.guard import MAX_CHARACTERS
from domain.access import Schema

_KNOWN = {schema.value: schema for schema in Schema}


def schemas_of(cursor: DuckDBPyConnection, statement: str) -> frozenset[Schema]:
    """As DuckDB's parser understands it; `other` when it does not parse, or names what is none of ours."""
    if len(statement) > MAX_CHARACTERS:
        return frozenset({Schema.OTHER})
    try:
        (text,) = cursor.execute("select json_serialize_sql(?::varchar)", [statement]).fetchall()[0]
        tree = json.loads(text)
    except (duckdb.Error, ValueError, RecursionError):
        return frozenset({Schema.OTHER})
    return frozenset({Schema.OTHER}) if tree["error"] else frozenset(_named(tree))


def _named(tree: Any) -> set[Schema]:
    """The schema of every table, table function and function that is qualified; `main` of a table that is not."""
    found, waiting = set[Schema](), [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
            path = item["qualified_name"]["path"] if "qualified_name" in item else []
            if len(path) > 1:
                found.add(_KNOWN.get(path[-2].lower(), Schema.OTHER))
            elif path and item.get("type") == "BASE_TABLE":
                found.add(Schema.MAIN)
    return found
