"""Schema `main` of one database into another: tables with their rows, macros, views, comments."""

import re
from collections.abc import Callable, Iterator

import duckdb
import pyarrow as pa

from projections import sql

BATCH_ROWS = 100_000

NEVER_PUBLISHED = frozenset({("events", "body")})
"""Columns of schema main that stay behind: the stored bytes are of use with the keys only, and outlive an erasure."""

Progress = Callable[[int, int], None]
"""Told how many rows of how many are written. An exception from it cancels the copy."""


class Copy:
    """One copy from the database of `source` into the one that `target` uses."""

    def __init__(
        self, source: duckdb.DuckDBPyConnection, target: duckdb.DuckDBPyConnection, on_progress: Progress | None
    ) -> None:
        self._source = source
        self._target = target
        self._on_progress = on_progress
        self._columns: dict[str, list[tuple[str, str]]] = {}
        for table, column, type_ in source.execute(query("columns")).fetchall():
            if (table, column) not in NEVER_PUBLISHED:
                self._columns.setdefault(table, []).append((column, type_))
        self._total = sum(len(source.table(_main(table))) for table in self._columns)
        self._done = 0

    def write(self) -> tuple[list[str], list[str]]:
        """Tables, macros, views, comments; the names of views that became tables, and of macros that are missing."""
        for table, columns in self._columns.items():
            self._table(table, columns)
        self._macros()  # what views call
        materialised = self._views()
        missing = self._macros()  # what reads views
        self._comments()
        return materialised, missing

    def _table(self, name: str, columns: list[tuple[str, str]]) -> None:
        """The columns with their types, and the rows in their order."""
        self._target.execute(f"create table {_main(name)} ({', '.join(f'{sql.quoted(c)} {t}' for c, t in columns)})")
        chosen = ", ".join(sql.quoted(column) for column, _ in columns)
        reader = self._source.sql(f"select {chosen} from {_main(name)}").to_arrow_reader(BATCH_ROWS)  # noqa: S608 - quoted names
        counted = pa.RecordBatchReader.from_batches(reader.schema, self._counted(reader))
        self._target.register("rows_to_copy", counted)
        try:
            self._target.execute(f"insert into {_main(name)} select * from rows_to_copy")  # noqa: S608 - a quoted name
        finally:
            self._target.unregister("rows_to_copy")
            reader.close()

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield batch
            self._done += batch.num_rows
            if self._on_progress is not None:
                self._on_progress(self._done, max(self._done, self._total))

    def _macros(self) -> list[str]:
        """The macros, as far as what they read is there; the names of the others.

        Defaults of parameters are lost: DuckDB's catalogue does not tell them.
        """
        missing = []
        for name, gives_rows, parameters, types, definitions, comment in self._source.execute(
            query("macros")
        ).fetchall():
            as_ = "as table" if gives_rows else "as"
            forms = [
                f"({', '.join(map(_parameter, names, typed))}) {as_} {definition}"
                for names, typed, definition in zip(parameters, types, definitions, strict=True)
            ]
            if not self._attempt(f"create or replace macro {_main(name)} {', '.join(forms)}"):
                missing.append(name)
            elif comment is not None:
                kind = "macro table" if gives_rows else "macro"
                self._target.execute(f"comment on {kind} {_main(name)} is {text(comment)}")
        return missing

    def _views(self) -> list[str]:
        """Views as views where they can be; else, without what is never published, their rows of now.

        Each comes after those it rests on: what cannot be made yet is tried again when others were.
        """
        materialised = []
        left: dict[str, str] = dict(self._source.execute(query("views")).fetchall())
        while left:
            done = [name for name, definition in left.items() if self._view(name, definition)]
            if not done:
                # One of them reads what stays behind, and the others rest on it.
                done = [next((name for name in left if not _rests_on(left[name], left.keys() - {name})), min(left))]
                self._table(done[0], self._published(done[0]))
                materialised += done
            for name in done:
                del left[name]
        return sorted(materialised)

    def _view(self, name: str, definition: str) -> bool:
        """Whether it could be made, with all its columns."""
        if any((name, column) in NEVER_PUBLISHED for column, _ in self._described(name)):
            return False
        if not self._attempt(definition):
            return False
        if self._attempt(f"from {_main(name)} limit 0"):
            return True
        self._target.execute(f"drop view {_main(name)}")
        return False

    def _described(self, name: str) -> list[tuple[str, str]]:
        return [(column, type_) for column, type_, *_ in self._source.execute(f"describe {_main(name)}").fetchall()]

    def _published(self, name: str) -> list[tuple[str, str]]:
        return [(column, type_) for column, type_ in self._described(name) if (name, column) not in NEVER_PUBLISHED]

    def _comments(self) -> None:
        tables = {row[0] for row in self._target.execute("show tables").fetchall()}
        views = {row[0] for row in self._target.execute(query("views")).fetchall()}
        for kind, name, column, comment in self._source.execute(query("comments")).fetchall():
            if name not in tables or (name, column) in NEVER_PUBLISHED:
                continue
            what = f"{_main(name)}.{sql.quoted(column)}" if column else _main(name)
            now = kind if column else ("view" if name in views else "table")
            self._target.execute(f"comment on {now} {what} is {text(comment)}")

    def _attempt(self, statement: str) -> bool:
        """Whether the statement could be carried out; one that cannot changes nothing."""
        try:
            self._target.execute(statement)
        except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException):
            return False
        return True


def _rests_on(definition: str, names: set[str]) -> bool:
    """Whether the text of a view names one of these, as a table or otherwise."""
    return not names.isdisjoint(re.findall(r"\w+", definition))


def query(name: str) -> str:
    """One of this package's SQL files."""
    return sql.load("projections.publishing", f"queries/{name}.sql")


def _main(name: str) -> str:
    return f"main.{sql.quoted(name)}"


def text(value: str) -> str:
    """`value` as SQL writes it, where no parameter may stand."""
    return "'" + value.replace("'", "''") + "'"


def _parameter(name: str, type_: str | None) -> str:
    return sql.quoted(name) if type_ is None else f"{sql.quoted(name)} {type_}"
