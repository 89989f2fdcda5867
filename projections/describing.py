"""`docs/views.md`, made of the views themselves: their manifests, the types of their columns, an example of each.

python -m projections.describing > docs/views.md
"""

import sys
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from duckdb import DuckDBPyConnection

from infra.duckdb import open_database
from projections import Projector, sql
from projections.registry import VIEWS
from projections.view import View

HEAD = """\
# Views

Made by `python -m projections.describing`; change the view's `view.toml`, not this file.

The tables and views that `rapport query`, `POST /v1/sql` and the snapshot files offer, beside `events`: one row a
ledger event. A *table* is kept up with the ledger; a *view* is computed from tables when it is asked. Ids are UUIDs and
times have zones; a person is a `canonical_id`. What is in schema `pii` is personal, nothing else is.

A view that says "as of as_of()" answers for now, or for any other time:

```sql
set variable as_of = timestamptz '2026-03-01 00:00:00+00';
```

The answer is what was true then by `occurred_at`, as known today: what arrived late counts, and merges apply to the
past.
"""


def document(connection: DuckDBPyConnection, views: Iterable[View] = VIEWS) -> str:
    """The text of `docs/views.md`. The connection's database has these views."""
    views = tuple(views)
    list_ = "\n".join(f"- [`{_name(view)}`](#{view.name}): {view.manifest.description}" for view in views)
    return "\n".join([HEAD, list_, *(_section(connection, view) for view in views)])


def example(view: View) -> str | None:
    """A query that shows what the view is for."""
    path = files(f"{__package__}.{view.name}").joinpath("queries").joinpath("example.sql")
    return sql.load(f"{__package__}.{view.name}", "queries/example.sql").strip() if path.is_file() else None


def _section(connection: DuckDBPyConnection, view: View) -> str:
    kind = "Table" if view.stored else "View"
    grain = f", one row for each {', '.join(view.manifest.grain)}" if view.manifest.grain else ""
    rests = f", made of {', '.join(f'`{below.name}`' for below in view.depends_on)}" if view.depends_on else ""
    found = connection.execute(f"describe {view.table}").fetchall()
    columns = [f"| `{name}` | {_type(type_)} | {view.manifest.columns[name]} |" for name, type_, *_ in found]
    shown = example(view)
    lines = [
        *("", f"## {view.name}", "", f"{view.manifest.description}.", ""),
        *(f"{kind} `{_name(view)}`{grain}{rests}.", ""),
        *("| column | type | |", "|---|---|---|", *columns),
        *(("", "```sql", shown, "```") if shown else ()),
    ]
    return "\n".join(lines)


def _name(view: View) -> str:
    """As one writes it in a query."""
    return view.name if view.schema == "main" else f"{view.schema}.{view.name}"


def _type(type_: str) -> str:
    return str(type_).lower().replace("timestamp with time zone", "timestamptz").replace("|", "\\|")


def main() -> None:
    """Writes the document to standard output."""
    with tempfile.TemporaryDirectory() as folder:
        connection = open_database(Path(folder) / "rapport.duckdb")
        Projector(connection)
        sys.stdout.write(document(connection) + "\n")
        connection.close()


if __name__ == "__main__":
    main()
