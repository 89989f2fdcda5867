"""Whether a SELECT stays within what its caller may read: its parse tree, walked before anything runs.

DuckDB hands out the tree itself (`json_serialize_sql`), so that what is judged is what its own parser understood. What
is open is listed; anything else, a new kind of node included, is refused. Names are looked up in the catalogue of the
same transaction, which is why no list of views is kept here.
"""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from duckdb import DuckDBPyConnection

from api.sql import catalogue as known
from api.sql.catalogue import Catalogue, folded
from api.sql.refusals import PersonalData, QueryRefused
from api.sql.rights import PERSONAL, Rights

MAX_CHARACTERS = 1_000_000

Node = dict[str, Any]

EXPRESSIONS = frozenset(
    {
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"),
        *("LAMBDA", "LAMBDA_REF", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW"),
    }
)
PARTS = frozenset(
    {
        *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"),
        *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION"),
        *("DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"),
        *("ASCENDING", "DESCENDING", "ORDER_DEFAULT"),
    }
)
"""Kinds of query, of what stands in FROM, and of what follows a SELECT."""

NAMES_ONLY = frozenset({("information_schema", "tables"), ("information_schema", "columns")})
"""Views of DuckDB's own that are open: they hold the names of tables and columns, and no rows of theirs."""

SYSTEM_SCHEMAS = frozenset({"information_schema", "pg_catalog", "temp", "system"})

VARIABLE = "as_of"
"""The one session variable; see `api.sql.answer`."""

GROWING = {
    "repeat": 1,
    "lpad": 1,
    "rpad": 1,
    "list_resize": 1,
    "array_resize": 1,
    "range": None,
    "generate_series": None,
}
"""Functions that make a value as large as an argument says, in memory that DuckDB does not count: which argument."""

MOST_GROWN = 10_000

OVERVIEW = "`rapport query --describe` lists what there is"


def check(cursor: DuckDBPyConnection, query: str, rights: Rights) -> None:
    """Returns when `query` is one SELECT over what `rights` opens.

    Raises PersonalData where only the rights are missing, QueryRefused for everything else.
    """
    tree = _tree(cursor, query)
    guard = _Guard(known.catalogue(cursor), known.functions(cursor), rights)
    guard.temporary = _common_tables(tree, known.system_names(cursor))
    for node in _nodes(tree):
        guard.check(node)


def _tree(cursor: DuckDBPyConnection, query: str) -> Node:
    if len(query) > MAX_CHARACTERS:
        raise QueryRefused(f"a query has at most {MAX_CHARACTERS:,} characters")
    row = cursor.execute("select json_serialize_sql(?::varchar)", [query]).fetchall()[0]
    try:
        document = json.loads(row[0])
    except RecursionError:
        raise QueryRefused("the query is nested too deeply") from None
    if document["error"] or len(document["statements"]) != 1:
        raise QueryRefused("only a single SELECT is taken here")
    tree: Node = document["statements"][0]["node"]
    return tree


def _nodes(tree: Node) -> Iterator[Node]:
    """Every node of the tree; the function of a TABLE_FUNCTION is part of it and no node of its own."""
    waiting: list[Any] = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            yield item
            inner = item
            if item.get("type") == "TABLE_FUNCTION":
                inner = {key: value for key, value in item.items() if key != "function"} | item["function"]
            waiting.extend(value for key, value in inner.items() if key != "qualified_name")


def _common_tables(tree: Node, system: frozenset[str]) -> frozenset[str]:
    """The names that WITH gives to queries. None may be a system view's: then it does not matter where each holds."""
    names = frozenset(
        folded(entry["key"]) for node in _nodes(tree) if "cte_map" in node for entry in node["cte_map"]["map"]
    )
    if taken := sorted(names & system):
        raise QueryRefused(f"{taken[0]!r} is a name of DuckDB's own; give the WITH query another")
    return names


class _Guard:
    """Judges one node at a time."""

    temporary: frozenset[str] = frozenset()

    def __init__(self, catalogue: Catalogue, functions: frozenset[str], rights: Rights) -> None:
        self._catalogue = catalogue
        self._functions = functions
        self._rights = rights
        self._schemas = frozenset(schema for schema, _ in catalogue.relations) | {"main"} | PERSONAL

    def check(self, node: Node) -> None:
        """Raises QueryRefused when the node is not open to the caller."""
        if "class" in node:
            self._expression(node)
        elif isinstance(kind := node.get("type"), str):
            if kind not in PARTS:
                raise QueryRefused(f"{_words(kind)}: not open to queries; only SELECT is")
            match kind:
                case "BASE_TABLE":
                    self._table(node["qualified_name"]["path"])
                case "TABLE_FUNCTION":
                    self._table_function(node["function"]["qualified_name"]["path"])
                case "SHOW_REF":
                    self._show(node)

    def _expression(self, node: Node) -> None:
        if node["class"] == "PARAMETER":
            raise QueryRefused("a query takes no parameters; write the values into it")
        if node["class"] not in EXPRESSIONS:
            raise QueryRefused(f"{_words(node['class'])}: not open to queries")
        if node["class"] in ("FUNCTION", "WINDOW"):
            self._function(node["qualified_name"]["path"], node)

    def _table(self, path: list[str]) -> None:
        schema, name = self._resolved(path)
        if schema is None and name in self.temporary:
            return
        if (schema or "main", name) in NAMES_ONLY:
            return
        self._require(schema or "main", ".".join(path))
        if (schema or "main", name) not in self._catalogue.relations:
            open_ = [
                n if s == "main" else f"{s}.{n}" for s, n in self._catalogue.relations if s in self._rights.schemas
            ]
            near = get_close_matches(".".join(path), open_, 1)
            perhaps = f"; did you mean {near[0]}?" if near else ""
            raise QueryRefused(f"there is no table or view {'.'.join(path)!r}{perhaps}; {OVERVIEW}")

    def _table_function(self, path: list[str]) -> None:
        schema, name = self._resolved(path)
        if (schema or "main", name) in self._catalogue.row_macros:
            self._require(schema or "main", ".".join(path))
        elif schema not in (None, "main") or name not in known.TABLE_FUNCTIONS:
            raise QueryRefused(f"{'.'.join(path)}() in FROM is not open to queries; {OVERVIEW}")

    def _function(self, path: list[str], node: Node) -> None:
        name = folded(path[-1])
        qualifier = folded(path[-2]) if len(path) > 1 else None
        if qualifier in self._schemas | SYSTEM_SCHEMAS:
            schema, name = self._resolved(path)
        else:  # without a schema, or `column.upper()`, which means `upper(column)`
            schema = None
        if (schema or "main", name) in self._catalogue.value_macros:
            self._require(schema or "main", ".".join(path))
        elif name == "getvariable" and schema is None:
            if [_text(argument) for argument in node["arguments"]] != [VARIABLE]:
                raise QueryRefused(f"of the session's variables only getvariable('{VARIABLE}') is open to queries")
        elif schema not in (None, "main") or name not in self._functions:
            raise QueryRefused(f"the function {'.'.join(path)} does not exist or is not open to queries")
        elif name in GROWING:
            _check_size(name, node["arguments"])

    def _show(self, node: Node) -> None:
        """`show tables` names those of schema main; `describe` and `summarize` are over a query, walked as any."""
        if node["query"] is not None:
            return
        if node["show_type"] == "SHOW_SPECIAL":
            if node["table_name"].strip('"') != "tables":
                raise QueryRefused(f"of SHOW only `show tables` is open to queries; {OVERVIEW}")
            return
        self._table(node["qualified_name"]["path"])

    def _resolved(self, path: list[str]) -> tuple[str | None, str]:
        """Schema, if one is given, and name."""
        parts = [folded(part) for part in path]
        if len(parts) == 3 and parts[0] == self._catalogue.database:
            del parts[0]
        if len(parts) > 2:
            raise QueryRefused(f"{'.'.join(path)!r} is not of this database; {OVERVIEW}")
        return (parts[0] if len(parts) == 2 else None), parts[-1]

    def _require(self, schema: str, asked: str) -> None:
        if schema in self._rights.schemas:
            return
        if schema in PERSONAL:
            raise PersonalData(
                f"{asked} holds personal data, which SQL shows to the roles compliance and admin; present one's token"
            )
        raise QueryRefused(f"{asked!r} is not open to queries; {OVERVIEW}")


def _check_size(name: str, arguments: list[Node]) -> None:
    position = GROWING[name]
    sizes = arguments if position is None else arguments[position : position + 1]
    for size in sizes:
        text = _text(size)
        if text is None or not text.isdecimal() or int(text) > MOST_GROWN:
            instead = f"; in FROM, {name}() takes any" if position is None else ""
            raise QueryRefused(f"{name}() takes whole numbers up to {MOST_GROWN:,} here, written out{instead}")


def _text(argument: Node) -> str | None:
    """The constant that an argument is, as text; None for anything else."""
    expression = argument["expression"]
    if expression["class"] != "CONSTANT":
        return None
    text: str = expression["literal"]["text"]
    return text


def _words(kind: str) -> str:
    return kind.lower().replace("_", " ")
