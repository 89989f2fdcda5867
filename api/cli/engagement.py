"""`rapport engagement`: how warm, and why."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, KnownAt, Ref

app = typer.Typer(no_args_is_help=True, help="Engagement scores, as of any moment.")


@app.command()
def top(
    context: typer.Context,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    json: JSON = False,
) -> None:
    """The warmest relationships."""
    with connect(context.obj) as client:
        found = client.get("/v1/engagement", as_of=as_of, known_at=known_at, limit=limit)
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
    known_at: KnownAt = None,
    explain: Annotated[bool, typer.Option("--explain", help="Every event and what it adds.")] = False,
    json: JSON = False,
) -> None:
    """One person's score."""
    with connect(context.obj) as client:
        found = client.get(f"/v1/engagement/{quote(ref, safe='')}", as_of=as_of, known_at=known_at, explain=explain)
    if json:
        output.as_json(found)
        return
    contributions = found.pop("events", None)
    output.table("Engagement", ["what", "value"], found.items())
    if contributions is not None:
        columns = list(contributions[0]) if contributions else ["no scoring events"]
        output.table("What it is made of", columns, (list(c.values()) for c in contributions))


@app.command("what-if")
def what_if(
    context: typer.Context,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.TOML", help="Another model; `rapport engagement model` prints one.")
    ],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How much of the ranking.")] = 20,
    as_of: AsOf = None,
    json: JSON = False,
) -> None:
    """The ranking that another model would give, beside the one in force. Nothing is changed.

    Example: rapport engagement model > mine.toml, change mine.toml, rapport engagement what-if mine.toml --top 20
    """
    try:
        text = model.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{model} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    body = {"model": text, "limit": top} | ({"as_of": as_of.isoformat()} if as_of else {})
    with connect(context.obj) as client, output.err.status("computing scores…"):
        found = client.send("POST", "/v1/engagement/what-if", json=body)
    if json:
        output.as_json(found)
        return
    output.table(
        f"Engagement by {found['model']} as of {output.moment(found['as_of'])} (UTC), beside the model in force",
        ["rank", "now", "candidate", "name", "score", "score now"],
        (
            [r["rank"], r["rank_now"], output.short(r["canonical_id"]), output.name(r), r["score"], r["score_now"]]
            for r in found["candidates"]
        ),
    )


@app.command()
def model(context: typer.Context) -> None:
    """The engagement model in force, as TOML."""
    with connect(context.obj) as client:
        typer.echo(client.text("/v1/engagement/model"), nl=False)
