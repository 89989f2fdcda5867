"""`rapport candidate`, `merge`, `unmerge`."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, KnownAt, Ref, actor

candidate = typer.Typer(no_args_is_help=True, help="One person, over all their records.")


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.add_typer(candidate, name="candidate")
    app.command()(merge)
    app.command()(unmerge)


@candidate.command()
def show(context: typer.Context, ref: Ref, json: JSON = False) -> None:
    """The profile as it stands."""
    with connect(context.obj) as client:
        found = client.get(f"/v1/candidates/{quote(ref, safe='')}")
    if json:
        output.as_json(found)
    else:
        output.table("Candidate", ["what", "value"], ((k, v) for k, v in found.items() if v not in (None, [])))


@candidate.command()
def timeline(
    context: typer.Context,
    ref: Ref,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    json: JSON = False,
) -> None:
    """What happened, newest first."""
    with connect(context.obj) as client:
        found = client.get(
            f"/v1/candidates/{quote(ref, safe='')}/timeline", as_of=as_of, known_at=known_at, limit=limit
        )
    if json:
        output.as_json(found)
        return
    output.table(
        f"Timeline of {found['candidate']}",
        ["seq", "happened", "event", "channel", "actor", "what"],
        (
            [str(e["seq"]), e["occurred_at"], e["type"], e["channel"], e["actor"], e.get("summary")]
            for e in found["events"]
        ),
    )


def merge(
    context: typer.Context,
    duplicate: Annotated[str, typer.Argument(metavar="DUP", help="The record that is a duplicate.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="The record that stands for both.")],
    json: JSON = False,
) -> None:
    """Two records are one person. Nothing is copied or lost; `unmerge` takes it back."""
    _post(context, duplicate, "merge", {"into": into, "actor": actor()}, f"merged into {into}", json)


def unmerge(
    context: typer.Context,
    duplicate: Annotated[str, typer.Argument(metavar="DUP", help="The record that was merged by mistake.")],
    json: JSON = False,
) -> None:
    """Both records stand for themselves again."""
    _post(context, duplicate, "unmerge", {"actor": actor()}, "unmerged", json)


def _post(context: typer.Context, ref: str, verb: str, body: dict[str, Any], done: str, json: bool) -> None:
    with connect(context.obj) as client:
        found = client.send("POST", f"/v1/candidates/{quote(ref, safe='')}/{verb}", json=body)
    if json:
        output.as_json(found)
    else:
        output.say(f"{ref} {done} (event {found.get('seq')})")
