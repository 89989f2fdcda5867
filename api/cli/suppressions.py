"""`rapport suppressions`: identifiers of erased persons."""

from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.ledger import unrecognised
from api.cli.parameters import JSON, actor

app = typer.Typer(no_args_is_help=True, help="Identifiers of erased persons, which lead to nobody.")

PATH = "/v1/compliance/suppressions"

Identifier = Annotated[str, typer.Argument(metavar="IDENTIFIER", help="Email, +phone, profile link, or system:key.")]


@app.command()
def check(context: typer.Context, identifier: Identifier, json: JSON = False) -> None:
    """Is this identifier one of somebody who was erased? Only one can be asked for at a time; none is ever listed."""
    with connect(context.obj) as client:
        found = client.send("POST", f"{PATH}/check", json={"identifier": identifier})
    _answer(found, json=json)


@app.command(epilog='Example: rapport suppressions lift ada@example.com --because "applied on the careers page in May"')
def lift(
    context: typer.Context,
    identifier: Identifier,
    because: Annotated[str, typer.Option(help="Why, in words that say nothing about the person.")],
    by: Annotated[str | None, typer.Option(metavar="ACTOR", help="Who decided; you, if unset.")] = None,
    json: JSON = False,
) -> None:
    """Let an identifier of somebody who was erased be used again: they came of their own accord.

    It is written down beside the erasure, and in the access log. Nothing of what was erased comes back.
    """
    with connect(context.obj) as client:
        asked = {"identifier": identifier, "because": because, "by": by or actor()}
        found = client.send("POST", f"{PATH}/lift", json=asked)
    _answer(found, json=json)


def _answer(found: dict[str, Any], *, json: bool) -> None:
    if json:
        output.as_json(found)
        return
    state = "suppressed" if found["suppressed"] else "not suppressed"
    erasures = f" (erasures: {', '.join(found['erasures'])})" if found["erasures"] else ""
    output.say(f"{state}{erasures}")
    if unknown := found.get("unrecognised"):  # not of a node of an older version
        output.say(f"{unrecognised(unknown)}; whether this is one of them nobody can tell")
    for lifted in found["lifted"]:
        output.say(f"lifted {output.moment(lifted['at'])} UTC by {lifted['by']}: {lifted['because']}")
