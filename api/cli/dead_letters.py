"""`rapport dead-letters`: events that cannot be used, and trying them again."""

from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON

app = typer.Typer(help="Events that cannot be used: list them, try them again.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, json: JSON = False) -> None:
    """Each with its reason, and how many later events of its record wait behind it."""
    with connect(context.obj) as client:
        found = client.get("/v1/dead-letters")
    if json:
        output.as_json(found)
        return
    letters = found["dead_letters"]
    if not letters:
        output.say("there are no dead letters")
        return
    output.table(
        "Dead letters",
        ["seq", "record", "type", "waiting", "since", "problem"],
        ([r["seq"], _record(r), r["type"], r["waiting"], r["since"], r["problem"]] for r in letters),
        whole=("seq", "record", "waiting", "since"),
    )


def _record(letter: dict[str, Any]) -> str:
    return f"{letter['kind']}-{output.short(letter['id'])}"


@app.command("retry")
def retry(
    context: typer.Context,
    seqs: Annotated[
        list[str] | None, typer.Argument(metavar="[SEQ…|all]", help="Which of them; all of them if unset.")
    ] = None,
    json: JSON = False,
) -> None:
    """Read dead letters from the ledger again; what can be read now counts, with what waited behind it.

    Exit code 1 when one of them still cannot be used. May be repeated.
    """
    chosen = None if not seqs or [s.lower() for s in seqs] == ["all"] else [_seq(text) for text in seqs]
    with connect(context.obj) as client:
        last = client.last_seq()
        found = client.send("POST", "/v1/dead-letters/retry", json={"seqs": chosen}, min_seq=last)
    if json:
        output.as_json(found)
    else:
        _show(found)
    raise typer.Exit(1 if found["waits"] else 0)


def _seq(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(
            f"{text[:40]!r} is no ledger position; write numbers as `rapport dead-letters list` does"
        )
    return int(text)


def _show(found: dict[str, Any]) -> None:
    if not found["results"]:
        output.say("there are no dead letters")
    for outcome in found["results"]:
        match outcome["status"]:
            case "retried":
                output.say(f"event {outcome['seq']} is in the views now")
            case "waits":
                output.say(f"event {outcome['seq']} still cannot be used: {outcome['reason']}")
            case _:
                output.say(f"event {outcome['seq']} is no dead letter; nothing was to be done")
