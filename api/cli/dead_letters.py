"""`rapport dead-letters`: events that cannot be used, deliveries that could not be recorded, and trying them again."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON
from api.references import LETTER

PATH = "/v1/dead-letters/retry"
AT_ONCE = 100
"""Deliveries that are put back in one request: about 2 s of work."""

app = typer.Typer(
    help="Events that cannot be used, webhooks that could not be recorded: list, show, try again.",
    no_args_is_help=True,
)


class Of(StrEnum):
    """Where letters lie."""

    VIEWS = "views"
    INGEST = "ingest"


OfOption = Annotated[Of | None, typer.Option("--of", help="Those of the views or of ingest. Default: both.")]


@app.command("list")
def list_(context: typer.Context, of: OfOption = None, json: JSON = False) -> None:
    """Each with its reason; of the views, how many later events of its record wait behind it."""
    with connect(context.obj) as client:
        found = client.all_pages("/v1/dead-letters", "dead_letters", "ingest", of=of, limit=10_000)
    if json:
        output.as_json(found)
        return
    if not found["dead_letters"] and not found["ingest"]:
        output.say("there are no dead letters")
        return
    if found["dead_letters"]:
        output.table(
            "Dead letters",
            ["seq", "record", "type", "waiting", "since", "problem"],
            ([r["seq"], _record(r), r["type"], r["waiting"], r["since"], r["problem"]] for r in found["dead_letters"]),
            whole=("seq", "record", "waiting", "since"),
        )
    if found["ingest"]:
        output.table(
            "Dead letters of ingest",
            ["id", "provider", "since", "reasons"],
            ([r["id"], r["provider"], r["since"], "; ".join(r["reasons"])] for r in found["ingest"]),
            whole=("id", "provider", "since"),
        )


def _record(letter: dict[str, Any]) -> str:
    return f"{letter['kind']}-{output.short(letter['id'])}"


@app.command("show")
def show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(metavar="ID", help="i12 as `list` shows it, or u12 of an unknown kind.")],
    json: JSON = False,
) -> None:
    """What a provider sent, opened. It is personal: for compliance and admin, and the access log says who looked.

    A subscription of Amazon SNS that waits to be confirmed shows its link here: `rapport webhooks unknown` has its id.
    """
    if not LETTER.fullmatch(letter):
        raise typer.BadParameter("a letter of ingest is i and a number, or u and a number")
    with connect(context.obj) as client:
        found = client.send("GET", f"/v1/dead-letters/{letter}")
    if json:
        output.as_json(found)
        return
    output.say(f"{found['id']} of {found['provider']}, received {output.moment(found['received_at'])}")
    if found["correlation"]:
        output.say(f"correlation: {found['correlation']}")
    for reason in found["reasons"]:
        output.say(f"reason: {reason}")
    if found["kind"]:
        output.say(f"kind: {found['kind']}")
    for name, value in sorted((found["headers"] or {}).items()):
        output.say(f"{name}: {value}")
    output.say(found["body"] or "it cannot be opened any more")


@app.command("retry")
def retry(
    context: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID…|all]", help="Which of them; all of them if unset.")
    ] = None,
    of: OfOption = None,
    json: JSON = False,
) -> None:
    """Try dead letters again: events are read from the ledger once more, deliveries go back into the queue.

    Exit code 1 when an event still cannot be used; a delivery that cannot be recorded is a letter again soon after. May
    be repeated.
    """
    some = [] if ids is None or [text.lower() for text in ids] == ["all"] else ids
    letters, seqs = [text for text in some if LETTER.fullmatch(text)], None
    if some:
        seqs = [_seq(text) for text in some if not LETTER.fullmatch(text)]
    found: dict[str, Any] = {"results": [], "ingest": [], "retried": 0, "waits": 0}
    with connect(context.obj) as client:
        last = client.last_seq()
        if seqs or (seqs is None and of is not Of.INGEST):
            found |= client.send("POST", PATH, json={"seqs": seqs, "of": Of.VIEWS}, min_seq=last)
        if seqs is None and of is not Of.VIEWS:
            listed = client.all_pages("/v1/dead-letters", "dead_letters", "ingest", of=Of.INGEST, limit=10_000)
            letters = [letter["id"] for letter in listed["ingest"]]
        with output.progress(quiet=json) as bar:
            for first in bar.track(range(0, len(letters), AT_ONCE), description="putting deliveries back"):
                asked = {"letters": letters[first : first + AT_ONCE]}
                found["ingest"] += client.send("POST", PATH, json=asked, min_seq=last)["ingest"]
    if json:
        output.as_json(found)
    else:
        _show(found)
    raise typer.Exit(1 if found["waits"] else 0)


def _seq(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(f"{text[:40]!r} is no letter; write 12 or i12 as `rapport dead-letters list` does")
    return int(text)


def _show(found: dict[str, Any]) -> None:
    if not found["results"] and not found["ingest"]:
        output.say("there are no dead letters")
    for outcome in found["results"]:
        match outcome["status"]:
            case "retried":
                output.say(f"event {outcome['seq']} is in the views now")
            case "waits":
                output.say(f"event {outcome['seq']} still cannot be used: {outcome['reason']}")
            case _:
                output.say(f"event {outcome['seq']} is no dead letter; nothing was to be done")
    for outcome in found["ingest"]:
        queued = outcome["status"] == "queued"
        output.say(f"{outcome['id']} {'is in the queue again' if queued else 'is no dead letter any more'}")
