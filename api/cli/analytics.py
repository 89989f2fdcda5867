"""`rapport query`, `snapshot`, `export-parquet`: answers for analysts."""

import io
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from api.cli import output
from api.cli.client import Client, RequestRefused, connect
from api.cli.exporting import export, writing
from api.cli.parameters import JSON, AsOf
from api.http.roles import Role, Tokens

CHUNK_BYTES = 1_000_000


class Shape(StrEnum):
    """How `query` writes its answer."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command("query")(query_command)
    app.command("snapshot")(snapshot_command)
    app.command("export-parquet")(export_command)


def query_command(
    context: typer.Context,
    query: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One SELECT over the views; with --describe, the name of one.")
    ] = None,
    format_: Annotated[Shape, typer.Option("--format", "-f")] = Shape.TABLE,
    as_of: AsOf = None,
    role: Annotated[
        Role | None, typer.Option(help="Ask in this role, by its token in the data folder; an analyst's if unset.")
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="What there is to ask, with comments.")] = False,
    json: JSON = False,
) -> None:
    """Ask the views in SQL.

    Examples: rapport query "select type, count(*) from events group by all" · rapport query --describe events
    """
    if query is None and not describe:
        raise typer.BadParameter("a SELECT is needed, or --describe")
    with connect(context.obj) as client:
        token = Tokens.of(context.obj.tokens_file)[role or Role.ANALYST]
        if describe:
            _describe(client, token, query, json=json)
        else:
            _ask(client, token, {"query": query, "as_of": as_of}, Shape.JSON if json else format_)


def _ask(client: Client, token: str, request: dict[str, Any], shape: Shape) -> None:
    import pyarrow as pa

    from api.sql.formats import Format, rows

    body = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in request.items()}
    media = Format.ARROW if shape is Shape.TABLE else Format[shape.name]
    with client.stream("POST", "/v1/sql", token, media, json=body) as answer:
        if shape is Shape.TABLE:
            table = pa.ipc.open_stream(io.BytesIO(answer.read())).read_all()
            output.table("", table.column_names, (list(row.values()) for row in rows(table)))
            return
        for chunk in answer.iter_bytes(CHUNK_BYTES):
            sys.stdout.buffer.write(chunk)
        if shape is Shape.JSON:
            sys.stdout.buffer.write(b"\n")


def _describe(client: Client, token: str, name: str | None, *, json: bool) -> None:
    with client.stream("GET", "/v1/sql/catalogue", token, name=name) as answer:
        found = orjson.loads(answer.read())
    if json:
        output.as_json(found)
        return
    for item in found:
        full = item["name"] if item["schema"] == "main" else f"{item['schema']}.{item['name']}"
        signature = f"({', '.join(item['parameters'])})" if item["parameters"] is not None else ""
        output.say(f"{full}{signature} · {item['kind']}{': ' + item['comment'] if item['comment'] else ''}")
        if item["columns"]:
            columns = ((c["name"], c["type"], c["comment"]) for c in item["columns"])
            output.table("", ("column", "type", "what it holds"), columns, whole=("column",))


def snapshot_command(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to put it in, too; else it stays in the data folder.")
    ] = None,
    json: JSON = False,
) -> None:
    """Publish a copy of everything but personal data, as a file that DuckDB 1.5 and later open read-only.

    Examples: rapport snapshot · rapport snapshot -o /srv/analysts
    """
    with connect(context.obj) as client:
        published = _publish(client, quiet=json)
        if folder is not None:
            published |= _taken_along(client, folder)
    if json:
        output.as_json(published)
        return
    output.say(f"{published['path']}: up to event {published['seq']:,}, {published['size_bytes'] / 1e6:,.1f} MB")


def _publish(client: Client, *, quiet: bool) -> dict[str, Any]:
    with output.progress(quiet) as bar, client.stream("POST", "/v1/snapshots") as answer:
        task = bar.add_task("snapshot", total=None)
        for line in answer.iter_lines():
            said = orjson.loads(line)
            if "error" in said:
                raise RequestRefused(said["error"])
            if "snapshot" in said:
                found: dict[str, Any] = said["snapshot"]
                return found
            bar.update(task, completed=said["progress"]["done"], total=said["progress"]["total"])
    raise RequestRefused("the node stopped before the snapshot was whole; run the command again")


def _taken_along(client: Client, folder: Path) -> dict[str, Any]:
    """The newest snapshot in `folder`; what of it has changed. Raises FileRefused."""
    target = folder / "rapport.duckdb"
    with client.stream("GET", "/v1/snapshot.duckdb") as answer, writing(target) as beside:
        with beside.open("wb") as file:
            file.writelines(answer.iter_bytes(CHUNK_BYTES))
        size = beside.stat().st_size
        seq = int(answer.headers["Rapport-Seq"])
    return {"path": str(target.absolute()), "size_bytes": size, "seq": seq}


def export_command(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder of the export; the same again goes on there.")],
    shards: Annotated[int, typer.Option(help="Files a day: a power of two up to 256.")] = 1,
    json: JSON = False,
) -> None:
    """Write the mirror without personal data as Parquet, a file a day (of recording, UTC) and shard.

    A repeated export writes the days that have grown. Example: rapport export-parquet -o events
    """
    with connect(context.obj) as client:
        done = export(client, folder, shards, quiet=json)
    if json:
        output.as_json(done)
        return
    output.say(
        f"{folder}: up to event {done['until']:,}; {done['written']:,} of {done['parts']:,} files written, "
        f"{done['size_bytes'] / 1e6:,.1f} MB in all"
    )
