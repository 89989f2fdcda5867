"""`rapport access`: who read what about whom, and whether the log of that is whole."""

from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from api.cli import output
from api.cli.client import Client, connect
from api.cli.parameters import JSON, moment
from api.http.roles import Role, Tokens
from domain.access import Head, Read

app = typer.Typer(no_args_is_help=True, help="Who read what about whom.")

PAGE = 1_000


def _head(text: str) -> str:
    try:
        return str(Head.of(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command("list")
def list_(
    context: typer.Context,
    of: Annotated[str | None, typer.Option(metavar="REF", help="Reads that name this person.")] = None,
    by: Annotated[str | None, typer.Option(metavar="ROLE", help="Reads by this role.")] = None,
    what: Annotated[Read | None, typer.Option(help="Reads of this kind.")] = None,
    since: Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="From then on.")] = None,
    until: Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Before then.")] = None,
    after: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Behind this record.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = PAGE,
    json: JSON = False,
) -> None:
    """The records, oldest first. It asks in the role compliance, by the token in the data folder.

    Reads of more than 100 persons, SQL and copies of everything name nobody: ask for these by --what.
    Examples: rapport access list --of ada@example.com · rapport access list --what sql --since 2026-05-01
    """
    asked = {"of": of, "by": by, "what": what, "since": since, "until": until}
    with connect(context.obj) as client:
        found, goes_on = _records(context, client, after, limit, asked)
    if json:
        output.as_json({"records": found, "next": goes_on})
        return
    if not found:
        output.say("there is no such read")
        return
    _show(found)
    if goes_on is not None:
        output.say(f"there may be more: go on with --after {goes_on}")


def _records(
    context: typer.Context, client: Client, after: int, limit: int, asked: dict[str, Any]
) -> tuple[list[dict[str, Any]], int | None]:
    found: list[dict[str, Any]] = []
    goes_on: int | None = after
    while goes_on is not None and len(found) < limit:
        page = _get(context, client, "", asked | {"after": goes_on, "limit": min(PAGE, limit - len(found))})
        found += page["records"]
        goes_on = page["next"]
    return found, goes_on


def _show(records: list[dict[str, Any]]) -> None:
    output.table(
        "Who read what (UTC)",
        ["number", "when", "role", "what", "outcome", "about"],
        (
            [
                str(record["number"]),
                record["occurred_at"],
                record["role"] if record.get("token") or record["role"] == "node" else f"{record['role']} (no token)",
                record["what"],
                record["outcome"],
                _about(record),
            ]
            for record in records
        ),
        whole=["number", "when", "what", "outcome"],
    )


def _about(record: dict[str, Any]) -> str:
    """Whom it names, else how many; of SQL the schemas and the digest of the statement."""
    count = record.get("count")
    if record["what"] == Read.SQL:
        rows = "" if count is None else f"{count:,} row{'' if count == 1 else 's'} of "
        return f"{rows}{', '.join(record.get('schemas', ())) or 'no table'}; {output.short(record.get('statement'))}"
    if record["what"] == Read.RETENTION:
        return f"{count:,} records removed, up to {record['through']}"
    if candidates := record.get("candidates"):
        more = f" and {len(candidates) - 3} more" if len(candidates) > 3 else ""
        return ", ".join(map(output.short, candidates[:3])) + more
    return "" if count is None else f"{count:,} persons"


@app.command()
def verify(
    context: typer.Context,
    head: Annotated[
        str | None, typer.Option(parser=_head, metavar="NUMBER:HASH", help="One that was noted earlier.")
    ] = None,
    json: JSON = False,
) -> None:
    """Is the log whole? Exit code 0 when nothing is missing, changed, inserted or out of order, 1 otherwise.

    Note the head it prints, apart from the data: given with --head another time, it shows that the log up to there was
    not written anew.
    """
    with connect(context.obj) as client:
        found = _get(context, client, "/verification", {"head": head})
    if json:
        output.as_json(found)
    else:
        for finding in found["findings"]:
            output.say(finding)
        first = "none" if found["first"] is None else f"from number {found['first']} on"
        output.say(f"{found['records']:,} records, {first}; " + ("nothing found" if found["clean"] else "not whole"))
        if found["head"] is not None:
            output.say(f"head {found['head']}")
    raise typer.Exit(0 if found["clean"] else 1)


def _get(context: typer.Context, client: Client, path: str, asked: dict[str, Any]) -> dict[str, Any]:
    token = Tokens.of(context.obj.tokens_file)[Role.COMPLIANCE]
    with client.stream("GET", f"/v1/access-log{path}", token, **asked) as answer:
        found: dict[str, Any] = orjson.loads(answer.read())
    return found
