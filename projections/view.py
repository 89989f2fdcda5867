"""What a view is: one SELECT and a small value that says how it is kept."""

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import duckdb
from duckdb import DuckDBPyConnection
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.candidate import Erased
from projections import scope, sql

MANIFEST, QUERY = "view.toml", "view.sql"

Key = Literal["candidate_id", "canonical_id", "pool_id"]

IN_SCOPE: Mapping[Key, str] = {
    "candidate_id": "candidate_id in (select candidate_id from scope_records)",
    "canonical_id": "canonical_id in (select canonical_id from scope_persons)",
    "pool_id": "pool_id in (select pool_id from scope_pools)",
}
"""By key: the rows that a batch affects."""

PERSONAL_COLUMNS = frozenset(
    {
        *("actor", "interaction", "message", "url", "tag", "location", "role_family", "skills", "identifiers"),
        *("first_name", "last_name", "headline", "employer", "name", "description", "fields", "packed"),
    }
)
"""Columns of the mirror that `main.events` does not have."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]


class ViewRefused(Exception):
    """A definition of `view` that cannot be used: the file, the line where it is known, and why."""

    def __init__(self, path: Path, reason: str, line: int | None = None) -> None:
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")
        self.folder = path.parent if path.name in (MANIFEST, QUERY) else path
        self.view = self.folder.name


class Manifest(BaseModel):
    """`view.toml`. A `grain` names the columns no two rows agree in. `recompute_by` names the keys by which rows are
    recomputed: when an event touches a value of a key, every row with that value is computed anew; without any, the
    view is not stored but a plain SQL view. `types` are the events that `view.sql` looks at, beyond a person's first
    and what the views in `depends_on` look at; absent means every type. `schema` `pii` is for what is personal;
    `personal_inputs` says of a view in `main` that it reads what is, and has nothing of it in its columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Annotated[int, Field(ge=1)] = 1
    description: Annotated[str, Field(min_length=1)]
    in_schema: Annotated[Literal["main", "pii"], Field(alias="schema")] = "main"
    grain: tuple[Name, ...] = ()
    recompute_by: tuple[Key, ...] = ()
    types: tuple[str, ...] | None = None
    depends_on: tuple[Name, ...] = ()
    personal_inputs: bool = False
    columns: dict[str, Annotated[str, Field(min_length=1)]]


def nothing(_connection: DuckDBPyConnection) -> None:
    """The preparation of a view that needs none."""


@dataclass(frozen=True)
class View:
    """A table that always equals `query` over the events held, or a plain SQL view.

    `depends_on` are the views whose tables the query reads. `constants` is whatever else the result depends on, put
    into the database by `prepare`.
    """

    name: str
    manifest: Manifest
    query: str
    path: Path
    manifest_text: str = ""
    depends_on: tuple["View", ...] = ()
    constants: str = ""
    prepare: Callable[[DuckDBPyConnection], None] = nothing

    @property
    def stored(self) -> bool:
        """Whether there is a table, kept up; else the query runs whenever somebody asks."""
        return bool(self.manifest.recompute_by)

    @property
    def keys(self) -> tuple[Key, ...]:
        """By which columns rows are recomputed."""
        return self.manifest.recompute_by

    @property
    def by_person(self) -> bool:
        """Whether the rows of a part of the persons can be computed by themselves."""
        return "canonical_id" in self.keys

    @property
    def indexed(self) -> frozenset[str]:
        """Columns by which the rows of a record or a person are looked up."""
        return frozenset(self.manifest.columns.keys() & {"canonical_id", *self.keys} - {"pool_id"})

    @property
    def schema(self) -> str:
        """`main`, or `pii` for what is personal."""
        return self.manifest.in_schema

    @property
    def table(self) -> str:
        """The table or SQL view, as SQL names it."""
        return f"{sql.quoted(self.schema)}.{sql.quoted(self.name)}"

    @property
    def next_table(self) -> str:
        """Where it is built beside the one in use."""
        return f"{sql.quoted(self.schema)}.{sql.quoted(self.name + '__next')}"

    @cached_property
    def definition(self) -> str:
        """A hash that changes whenever the contents may."""
        kept = self.manifest.model_dump_json(exclude={"description", "columns", "personal_inputs"})
        parts = [kept, self.query, self.constants, scope.text(), *(view.definition for view in self.depends_on)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def looks_at(self, types: frozenset[str]) -> bool:
        """Whether events of these types can change the contents. Who is erased leaves every view of persons."""
        own = self.manifest.types
        return (
            own is None
            or (Erased.type in types and self.keys != ("pool_id",))
            or not types.isdisjoint(own)
            or any(v.looks_at(types) for v in self.depends_on)
        )

    def describe(self, connection: DuckDBPyConnection, table: str, columns: list[str]) -> None:
        """Put the descriptions beside table and columns. Raises ViewRefused when they are not those of the query."""
        for missing in sorted(set(columns) - self.manifest.columns.keys()):
            raise ViewRefused(self.path / MANIFEST, f"the column {missing!r} of the query has no description")
        for more in sorted(self.manifest.columns.keys() - set(columns)):
            raise ViewRefused(self.path / MANIFEST, f"it describes a column {more!r} that the query does not have")
        for key in (*self.manifest.grain, *self.keys):
            if key not in columns:
                raise ViewRefused(self.path / MANIFEST, f"the query has no column {key!r}")
        what = "table" if self.stored else "view"
        connection.execute(f"comment on {what} {table} is {sql.literal(self.manifest.description)}")
        for column in columns:
            text = sql.literal(self.manifest.columns[column])
            connection.execute(f"comment on column {table}.{sql.quoted(column)} is {text}")

    def check(self, connection: DuckDBPyConnection) -> None:
        """Raises ViewRefused unless the query is one SELECT, and what it shows in schema `main` is not personal."""
        tree = sql.parsed(self.query)
        if tree is None or len(tree) != 1:
            try:
                connection.extract_statements(self.query)
            except duckdb.Error as error:
                raise self.refused(error, lines_before=0) from None
            raise ViewRefused(self.path / QUERY, "a view is one SELECT, which changes nothing")
        if self.schema == "main" and not self.manifest.personal_inputs and (read := self._personal(tree)):
            raise ViewRefused(
                self.path / MANIFEST,
                f"it reads what is personal ({', '.join(read)}) in schema main, which analysts see: say "
                'schema = "pii", or personal_inputs = true when nothing personal is in its columns',
            )

    def _personal(self, tree: Any) -> list[str]:
        """What of the query is personal, or may be."""
        names = sql.named(tree)
        read = {view.name for view in self.depends_on if view.schema == "pii"} | names.columns & PERSONAL_COLUMNS
        if "pii" in names.tables:
            read.add("pii")
        if names.takes_rows and any(table.startswith("scope_") for table in names.tables):
            read.add("*")
        return sorted(read)

    def refused(self, error: duckdb.Error, lines_before: int = 1, *, of_data: bool = False) -> ViewRefused:
        """The error of a statement that ran the query behind `lines_before` lines of ours.

        With `of_data` it arose from rows, and its text, which may quote them, is left out.
        """
        text = str(error).strip()
        found = re.search(r"^LINE (\d+):", text, re.MULTILINE)
        line = int(found[1]) - lines_before if found else None
        reason = text.partition("\n\nLINE")[0].replace("\n", " ")
        if of_data:
            reason = f"{reason.partition(':')[0]} at a row of the data, which is not shown"
        return ViewRefused(self.path / QUERY, reason, line)


def read(folder: Path) -> tuple[str, Manifest, str, str]:
    """The name, manifest, its text, and the query of the view in `folder`. Raises ViewRefused."""
    path = folder / MANIFEST
    try:
        text, query = path.read_text("utf-8"), (folder / QUERY).read_text("utf-8").rstrip().removesuffix(";") + "\n"
        manifest = parse(path, text)
    except (OSError, UnicodeDecodeError) as error:
        raise ViewRefused(folder, f"cannot be read: {error}") from None
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}(?<!__next)", folder.name):
        raise ViewRefused(folder, "the folder's name is the view's: lower-case letters, digits and underscores")
    return folder.name, manifest, text, query


def parse(path: Path, text: str) -> Manifest:
    """The manifest in `text`. Raises ViewRefused."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        raise ViewRefused(path, str(error), int(found[1]) if found else None) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ViewRefused(path, f"{place}: {first['msg']}", _line_of(text, first["loc"])) from None


def _line_of(text: str, place: tuple[int | str, ...]) -> int | None:
    """Where a key stands, if it does."""
    found = [n for n, line in enumerate(text.splitlines(), 1) if place and line.startswith(str(place[-1]))]
    return found[0] if found else None
