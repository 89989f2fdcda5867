"""`rapport webhooks`: which providers' webhooks are taken, by which secrets, and what came that nobody knows."""

import secrets
import sys
from typing import Annotated, Any

import typer

from api.cli import output
from api.cli.client import connect
from api.cli.parameters import JSON, place
from api.references import LETTER

app = typer.Typer(help="Providers whose webhooks are taken.", no_args_is_help=True)


PATH = "/v1/webhook-providers"

Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="As in `rapport webhooks list`.")]


@app.command("add")
def add(
    context: typer.Context,
    provider: Provider,
    secret: Annotated[
        str | None, typer.Option("--secret", help="What its deliveries are proved by; - reads it from standard input.")
    ] = None,
    json: JSON = False,
) -> None:
    """Take a provider's deliveries, or add a newer secret beside those there are. See docs/webhooks.md for each.

    Of Standard Webhooks each sender gets a name of its own, `standard-NAME`: two may give their messages the same ids.
    For Postmark without --secret one is made, and shown this once. Example: rapport webhooks add sendgrid --secret -
    """
    given = _read() if secret == "-" else secret  # noqa: S105 - says where it comes from
    made = None
    if given is None:
        if provider != "postmark":
            raise typer.BadParameter(
                f"what does {provider} prove its deliveries by? Give it with --secret -; see `rapport webhooks list`"
            )
        given = made = secrets.token_urlsafe(32)
    with connect(context.obj) as client:
        found = client.send("POST", PATH + place(provider, "secrets"), json={"secret": given})
    if json:
        output.as_json(found | ({} if made is None else {"secret": made}))
        return
    output.say(f"deliveries of {provider} are taken at /v1/webhooks/{provider} (secret {found['fingerprint']})")
    if made is not None:
        output.say(f"the address to give to {provider} ends in /v1/webhooks/{provider}/{made}; it is not shown again")


def _read() -> str:
    try:
        return sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError:
        raise typer.BadParameter("standard input is no text in UTF-8; give the secret as it is shown") from None


@app.command("list")
def list_(context: typer.Context, json: JSON = False) -> None:
    """The providers there are; of those that are on, the fingerprints of the secrets, the newest first."""
    with connect(context.obj) as client:
        found = client.send("GET", PATH)
    if json:
        output.as_json(found)
        return
    rows = ([p["provider"], p["on"], ", ".join(p["secrets"])] for p in found["providers"])
    output.table("Webhooks", ["provider", "taken", "secrets"], rows)
    if found["failure"]:
        output.say(f"the file of secrets is not used as it is now: {found['failure']}")


@app.command("remove")
def remove(
    context: typer.Context,
    provider: Provider,
    fingerprint: Annotated[str | None, typer.Option("--secret", help="Of one secret; all of them if unset.")] = None,
    json: JSON = False,
) -> None:
    """Take no more of a provider, or no more by one secret. What waits in the queue is recorded all the same."""
    with connect(context.obj) as client:
        found = client.send("DELETE", PATH + place(provider), fingerprint=fingerprint)
    if json:
        output.as_json(found)
    else:
        output.say(f"removed {found['removed']} of the secrets of {provider}")


@app.command("unknown")
def unknown(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Argument(metavar="ID", help="Of one kind: lists every delivery of it that is kept.")
    ] = None,
    json: JSON = False,
) -> None:
    """Kinds of deliveries that nobody knows: kept, not recorded. With the ID of one, every delivery of that kind.

    `rapport dead-letters show ID` opens one, `rapport dead-letters retry ID` tries it again.
    """
    if kind is not None:
        _of_one_kind(context, kind, json)
        return
    with connect(context.obj) as client:
        found = client.all_pages("/v1/webhook-kinds", "kinds", of_views=False, limit=10_000)
    found["kinds"].sort(key=lambda kind: (kind["provider"], kind["kind"]))
    if json:
        output.as_json(found)
        return
    if not found["kinds"]:
        output.say("there are none")
        return
    output.table(
        "Unknown kinds",
        ["id", "provider", "kind", "count", "last seen"],
        ([k["id"], k["provider"], k["kind"], k["count"], k["last_seen"]] for k in found["kinds"]),
        whole=("id", "provider", "last seen"),
    )


def _of_one_kind(context: typer.Context, kind: str, json: bool) -> None:
    if not LETTER.fullmatch(kind) or not kind.startswith("u"):
        raise typer.BadParameter("a kind's id is u and a number; `rapport webhooks unknown` shows them")
    with connect(context.obj) as client:
        kept: list[dict[str, Any]] = client.send("GET", f"/v1/dead-letters/{kind}")["alike"]
    if json:
        output.as_json({"kept": kept})
        return
    output.table("Kept of this kind", ["id", "since"], ([k["id"], k["since"]] for k in kept), whole=("id", "since"))
