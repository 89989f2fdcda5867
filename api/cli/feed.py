"""`rapport feed`: what others are told, as it comes."""

import json as text
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import RequestRefused, connect
from api.cli.parameters import note_json

app = typer.Typer(help="The feed: published events for others.", no_args_is_help=True)


@app.command("tail")
def tail(
    context: typer.Context,
    types: Annotated[
        list[str] | None, typer.Option(help="Only these, such as pool.joined or 'candidate.*'; may be repeated.")
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, help="Behind this position; 0 for all that is kept. Default: what comes.")
    ] = None,
    count: Annotated[int | None, typer.Option("-n", min=1, help="End after so many messages.")] = None,
    json: Annotated[bool, typer.Option("--json", callback=note_json, help="One CloudEvent a line.")] = False,
) -> None:
    """Show the feed until Ctrl-C."""
    shown = 0
    with connect(context.obj) as client, client.stream("GET", "/v1/feed", types=types, after=after) as answer:
        for event in _events(answer.iter_lines()):
            output.raw(event["data"] + "\n" if json else _line(event["id"], event["event"], text.loads(event["data"])))
            sys.stdout.flush()
            shown += 1
            if shown == count:
                return
    raise RequestRefused("the node stopped; run the command again with --after and the last position")


def _events(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Server-sent events that have data, by the names of their fields."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "data" in fields:
                yield fields
            fields = {}


def _line(position: str, type_: str, event: dict[str, Any]) -> str:
    said = event["data"]
    shown = {k: v for k, v in said.items() if k not in ("recorded_at", "occurred_at", "candidate", "version")}
    values = " ".join(f"{name}={value}" for name, value in shown.items())
    return f"{position:>8} {output.moment(event['time'])} {type_} {output.short(said.get('candidate'))} {values}\n"
