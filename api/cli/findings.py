"""`rapport findings`, `policy`, `records-of-processing`: what breaks the rules, and the rules."""

from itertools import groupby
from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, KnownAt
from domain.compliance_policy import GENERAL
from domain.finding import FindingKind


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command()(findings)
    app.command()(policy)
    app.command()(records_of_processing)


def findings(
    context: typer.Context,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    kind: Annotated[FindingKind | None, typer.Option(help="Only this kind.")] = None,
    person: Annotated[
        str | None, typer.Option(metavar="REF", help="Only this person: id, email, +phone, profile link or system:key.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many are shown.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on behind what was shown before.")] = None,
    json: JSON = False,
) -> None:
    """What breaks the rules, each with the events that prove it. Exit code 1 when there is anything, 0 when nothing.

    Examples: rapport findings · rapport findings --kind notice_overdue --as-of 2026-03-01
    """
    asked = {"kind": None if kind is None else kind.value, "person": person, "limit": limit, "after": cursor}
    with connect(context.obj) as client, output.err.status("looking…"):
        found = client.get("/v1/compliance/findings", as_of=as_of, known_at=known_at, **asked)
    if json:
        output.as_json(found)
    else:
        show(found)
    raise typer.Exit(1 if found["total"] else 0)


def show(found: dict[str, Any]) -> None:
    """The findings as a table for each kind, the gravest first."""
    known = f", known at {output.moment(found['known_at'])}" if found["known_at"] else ""
    when = f"as of {output.moment(found['as_of'])}{known} (UTC)"
    if not found["findings"]:
        output.say(f"nothing found {when}")
        return
    for kind, rows in groupby(found["findings"], key=lambda row: row["kind"]):
        of_kind = list(rows)
        first = of_kind[0]
        output.say(f"{kind} · {first['severity']} · {first['article']}")
        output.say(f"{first['what_to_do']}.")
        output.table(
            "",
            ["person", "since", "was due", "proving events"],
            ([row["canonical_id"], row["since"], row["due_at"], " ".join(map(str, row["seqs"]))] for row in of_kind),
            whole=["person", "since", "was due"],
        )
    shown = len(found["findings"])
    more = f"; --cursor {found['next']} shows what comes next" if found["next"] else ""
    output.say(f"{shown:,} of {found['total']:,} findings {when}{more}")


def policy(
    context: typer.Context,
    toml: Annotated[bool, typer.Option("--toml", help="The file itself, to change and set as RAPPORT_POLICY.")] = False,
    json: JSON = False,
) -> None:
    """How long data may be kept and how soon things must be done, by jurisdiction, each value with its source."""
    with connect(context.obj) as client:
        if toml:
            typer.echo(client.text("/v1/compliance/policy.toml"), nl=False)
            return
        found = client.send("GET", "/v1/compliance/policy")
    if json:
        output.as_json(found)
        return
    where = "that comes with Rapport" if found["file"] is None else f"of {found['file']}"
    output.say(f"Policy {found['version']} {where}; {found['default']} for people of whom no jurisdiction is known.")
    for code, terms in found["jurisdictions"].items():
        values = {name: value for name, value in terms.items() if name != "name" and value["from"] == code}
        output.table(
            f"{code}: {terms['name']}",
            ["what", "value", "source", "of", "looked up", "confirmed", "note"],
            (
                [name, v["value"], v["source"], v["source_date"], v["looked_up"], v["confirmed"], v["note"]]
                for name, v in values.items()
            ),
            whole=["what", "of", "looked up"],
        )
    output.say(f"What a jurisdiction does not state is as in {GENERAL}, which holds for all others, too.")


def records_of_processing(context: typer.Context, json: JSON = False) -> None:
    """The records of processing activities (Art. 30 GDPR), as Markdown."""
    from api.records_of_processing import markdown

    with connect(context.obj) as client:
        found = client.send("GET", "/v1/compliance/records-of-processing")
    if json:
        output.as_json(found)
    else:
        typer.echo(markdown(found), nl=False)
