"""`rapport requests`: what data subjects ask for, until when it has to be answered, and what became of it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, Ref, actor, moment, place
from domain.policy import Channel, RequestKind, RequestOutcome

PATH = "/v1/compliance/requests"

app = typer.Typer(no_args_is_help=True, help="Data subjects' requests: access, erasure and the rest, with deadlines.")

RequestId = Annotated[str, typer.Argument(metavar="ID", help="Id of the request, as `rapport requests list` shows it.")]
When = Annotated[datetime | None, typer.Option("--at", parser=moment, metavar="TIME", help="When. Default: now.")]
Explanation = Annotated[str | None, typer.Option(help="What the person was told.")]


@app.command("list")
def list_(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Those that were answered, too.")] = False,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those whose time is over.")] = False,
    asks_for: Annotated[RequestKind | None, typer.Option(help="Only requests of this kind.")] = None,
    of: Annotated[str | None, typer.Option("--of", metavar="REF", help="Only requests of this person.")] = None,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    json: JSON = False,
) -> None:
    """Requests that wait for an answer, the most urgent first."""
    states = ["overdue"] if overdue else None if every else ["open", "overdue"]
    with connect(context.obj) as client:
        found = client.get(PATH, state=states, asks_for=asks_for, candidate=of, as_of=as_of, limit=limit)
    if json:
        output.as_json(found)
        return
    columns = ["before", "state", "asks for", "person", "request"]
    rows = (
        [r["due_at"][:10], r["state"], r["asks_for"], output.short(r["canonical_id"]), r["request_id"]]
        for r in found["requests"]
    )
    title = f"To be answered, as of {output.moment(found['as_of'])} (UTC)"
    output.table(title, columns, rows, whole=["before", "state", "request"])
    if found["next"] is not None:
        output.say(f"there are more than these {limit}; --limit shows up to 1000, --asks-for and --of fewer")


@app.command("open")
def open_(
    context: typer.Context,
    ref: Ref,
    asks_for: Annotated[RequestKind, typer.Argument(help="What the person asks for.")],
    received: Annotated[
        datetime | None, typer.Option("--received", parser=moment, metavar="TIME", help="When. Default: now.")
    ] = None,
    details: Annotated[str | None, typer.Option(help="What the person wrote.")] = None,
    channel: Annotated[Channel | None, typer.Option(help="How it came in.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where it came in; makes a record of somebody who is not known yet.")
    ] = None,
    json: JSON = False,
) -> None:
    """A person asks for something. Shows the request's id."""
    body = {"candidate": ref, "asks_for": asks_for, "details": details, "channel": channel, "source": source}
    with connect(context.obj) as client:
        done = client.send("POST", PATH, json=_body(body | {"received_at": received}))
        found = client.get(f"{PATH}/{done['request']}")
    if json:
        output.as_json(found)
        return
    output.say(f"request {found['request_id']} for {asks_for}, to be answered before {found['due_at']}")
    output.say(f"carried out by: {found['carried_out_by']}")


@app.command()
def show(context: typer.Context, id_: RequestId, as_of: AsOf = None, json: JSON = False) -> None:
    """One request: its deadline, what became of it, who else was told, and which command carries it out."""
    with connect(context.obj) as client:
        found = client.get(PATH + place(id_), as_of=as_of)
    if json:
        output.as_json(found)
        return
    events, told, command = found.pop("events"), found.pop("recipients"), found.pop("carried_out_by")
    output.table("Request", ["what", "value"], ((k, v) for k, v in found.items() if v is not None))
    output.table(
        "What became of it",
        ["seq", "happened", "event", "by", "what"],
        ([str(e["seq"]), e["occurred_at"], e["type"], e["actor_kind"], _words(e)] for e in events),
        whole=["seq", "happened", "event"],
    )
    if told:
        columns = ["recipient", "told of", "acknowledged", "when"]
        rows = ([t["recipient"], t["about"], t["acknowledged"], t["occurred_at"]] for t in told)
        output.table("Recipients (Art. 19 GDPR)", columns, rows)
    if found["state"] != "closed":
        output.say(f"carried out by: {command}")


def _words(event: dict[str, Any]) -> str:
    return "\n".join(f"{k.replace('_', ' ')}: {v}" for k, v in event["data"].items() if k != "request")


@app.command()
def extend(
    context: typer.Context,
    id_: RequestId,
    reason: Annotated[
        Literal["complexity", "number"], typer.Option(help="The request is complex, or the person has made many.")
    ],
    explanation: Explanation = None,
    at: When = None,
    json: JSON = False,
) -> None:
    """Two months more, once, of which the person was told within the first (Art. 12(3) GDPR)."""
    body = {"reason": reason, "explanation": explanation, "told_at": at}
    _post(context, id_, "extend", body, "extended by two months", json)


@app.command()
def close(
    context: typer.Context,
    id_: RequestId,
    outcome: Annotated[RequestOutcome, typer.Option(help="How it ended.")],
    explanation: Explanation = None,
    at: When = None,
    json: JSON = False,
) -> None:
    """The request was answered. Nothing is carried out by closing it: `rapport requests show` says what does that."""
    body = {"outcome": outcome, "explanation": explanation, "closed_at": at}
    _post(context, id_, "close", body, f"closed: {outcome}", json)


@app.command()
def told(
    context: typer.Context,
    id_: RequestId,
    recipient: Annotated[str, typer.Argument(metavar="RECIPIENT", help="Name of who has the data, not of a person.")],
    about: Annotated[
        Literal["rectification", "erasure", "restriction"] | None,
        typer.Option(help="What they are to do. Default: what the request asks for."),
    ] = None,
    acknowledged: Annotated[bool, typer.Option("--acknowledged", help="They confirmed it.")] = False,
    at: When = None,
    json: JSON = False,
) -> None:
    """A recipient of the data was told what to do with it, or confirmed it (Art. 19 GDPR)."""
    body = {"recipient": recipient, "about": about, "acknowledged": acknowledged, "told_at": at}
    done = f"{recipient} confirmed it" if acknowledged else f"{recipient} was told"
    _post(context, id_, "recipients", body, done, json)


def _post(context: typer.Context, id_: str, verb: str, body: dict[str, Any], done: str, json: bool) -> None:
    with connect(context.obj) as client:
        found = client.send("POST", PATH + place(id_, verb), json=_body(body))
    if json:
        output.as_json(found)
    else:
        output.say(f"request {found['request']}: {done}" + (f" (event {found['seq']})" if "seq" in found else ""))


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    known = {k: v for k, v in fields.items() if v is not None} | {"actor": actor()}
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in known.items()}
