"""`rapport consent`: replay a trail, prove it, verify such a proof, ask whether somebody may be contacted."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, AsOf, KnownAt, Ref
from domain.policy import DEFAULT_PURPOSE, Channel

app = typer.Typer(no_args_is_help=True, help="Consent trails, from the ledger itself.")


@app.command()
def trail(
    context: typer.Context,
    ref: Ref,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    proof: Annotated[
        Path | None,
        typer.Option("--proof", "-o", metavar="FILE", help="Write an evidence file that proves it to an outsider."),
    ] = None,
    records: Annotated[
        bool, typer.Option("--ts27560", help="As JSON: consent records by ISO/IEC TS 27560, in W3C DPV's terms.")
    ] = False,
    json: JSON = False,
) -> None:
    """Every event that bears on consent, and the standing it led to."""
    if proof is not None:
        from api.cli import proving

        proving.require_free(proof)
    with connect(context.obj) as client:
        if proof is not None:
            proving.write(client, ref, proof, as_of, known_at, json=json)
            return
        path = f"/v1/compliance/candidates/{quote(ref, safe='')}/trail"
        form = "ts27560" if records else "rapport"
        found = client.get(path, as_of=as_of, known_at=known_at, format=form)
    if json or records:
        output.as_json(found)
    else:
        show_trail(found)


def show_trail(found: dict[str, Any]) -> None:
    """The trail as two tables: what happened, and where it led."""
    known = f", known at {output.moment(found['known_at'])}" if found["known_at"] else ""
    title = f"Consent trail of {found['candidate']}, as of {output.moment(found['as_of'])}{known} (UTC)"
    states: list[dict[str, str]] = [{}, *(_by_cell(e["state"]) for e in found["events"])]
    output.table(
        title,
        ["seq", "happened", "recorded", "event", "by", "evidence", "changes"],
        (
            [
                str(e["seq"]),
                e["occurred_at"],
                e["recorded_at"],
                f"{e['type']} ({e['channel']})" if e["channel"] else e["type"],
                e["actor"],
                "\n".join(f"{k} {v}" for k, v in e["data"].items()),
                "\n".join(
                    f"{cell}: {status}" for cell, status in after.items() if before.get(cell, "no_basis") != status
                ),
            ]
            for e, (before, after) in zip(found["events"], pairwise(states), strict=True)
        ),
        whole=["seq", "happened", "recorded", "event"],
    )
    output.table(
        "Standing",
        ["channel", "purpose", "contactable", "because", "event"],
        (
            [s["channel"], s["purpose"], s["contactable"], s["status"], str(s["because_seq"] or "")]
            for s in found["standing"]
        ),
    )


def _by_cell(state: list[dict[str, Any]]) -> dict[str, str]:
    return {f"{s['channel']}/{s['purpose']}": s["status"] for s in state}


@app.command()
def check(
    context: typer.Context,
    ref: Ref,
    channel: Annotated[Channel, typer.Option(help="How the person would be contacted.")],
    purpose: Annotated[str, typer.Option(help="What for.")] = DEFAULT_PURPOSE,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    json: JSON = False,
) -> None:
    """May this person be contacted? Exit code 0 when yes, 1 when no."""
    with connect(context.obj) as client:
        found = client.get(
            f"/v1/compliance/candidates/{quote(ref, safe='')}/contactability",
            channel=channel.value,
            purpose=purpose,
            as_of=as_of,
            known_at=known_at,
        )
    if json:
        output.as_json(found)
    else:
        because = f" (event {found['because_seq']})" if found["because_seq"] else ""
        answer = "yes" if found["contactable"] else "no"
        output.say(f"{answer}: {found['status']}{because}")
    raise typer.Exit(0 if found["contactable"] else 1)


@app.command("verify-proof")
def verify_proof(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An evidence file, as `consent trail --proof` writes it.")
    ],
    key: Annotated[
        str | None, typer.Option("--key", metavar="VKEY", help="The key that must have signed it; else the file's own.")
    ] = None,
    json: JSON = False,
) -> None:
    """Does this file prove what it says? Needs no node and no data folder. Exit code 0 when yes, 1 when no."""
    from api.cli import proving

    raise typer.Exit(0 if proving.verify_file(file, key, json=json) else 1)
