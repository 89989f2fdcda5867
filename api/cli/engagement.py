"""`rapport engagement`: how warm, and why."""

from typing import Annotated
from urllib.parse import quote

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, Ref

app = typer.Typer(no_args_is_help=True, help="Engagement scores, as of any moment.")


@app.command()
def top(
    context: typer.Context,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    json: JSON = False,
) -> None:
    """The warmest relationships."""
    with connect(context.obj) as client:
        found = client.get("/v1/engagement", as_of=as_of, limit=limit)
    if json:
        output.as_json(found)
    else:
        show_top(found)


def show_top(found: dict[str, object]) -> None:
    """The ranking as a table."""
    rows = found["candidates"]
    assert isinstance(rows, list)  # noqa: S101 - the route's own form
    output.table(
        f"Engagement as of {output.moment(str(found['as_of']))} (UTC)",
        ["candidate", "name", "score", "last engaged", "flag"],
        (
            [output.short(r["canonical_id"]), output.name(r), r["score"], r.get("last_engaged_at"), r.get("flag")]
            for r in rows
        ),
    )


@app.command()
def show(
    context: typer.Context,
    ref: Ref,
    as_of: AsOf = None,
    explain: Annotated[bool, typer.Option("--explain", help="Every event and what it adds.")] = False,
    json: JSON = False,
) -> None:
    """One person's score."""
    with connect(context.obj) as client:
        found = client.get(f"/v1/engagement/{quote(ref, safe='')}", as_of=as_of, explain=explain)
    if json:
        output.as_json(found)
        return
    contributions = found.pop("events", None)
    output.table("Engagement", ["what", "value"], found.items())
    if contributions is not None:
        columns = list(contributions[0]) if contributions else ["no scoring events"]
        output.table("What it is made of", columns, (list(c.values()) for c in contributions))
