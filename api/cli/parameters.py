"""Options that many commands share."""

import getpass
import os
import re
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

import typer

from api.cli import output


def actor() -> str:
    """Who acts through the command line: the user of the machine, by number where they have no name."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"user:{os.getuid()}"


def note_json(asked: bool) -> bool:
    """Has a refusal said as JSON as well."""
    output.refuse_as_json(asked)
    return asked


JSON = Annotated[
    bool,
    typer.Option(
        "--json", callback=note_json, help="One JSON document on standard output; a refusal's on standard error."
    ),
]


def moment(text: str) -> datetime:
    """A time with a zone; a bare date is its midnight in UTC."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a date, or a time with its zone, such as 2026-03-01T09:30:00Z") from None
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return parsed.replace(tzinfo=UTC)
    if parsed.tzinfo is None:
        raise typer.BadParameter("the time has no zone; write 2026-03-01T09:30:00Z or with an offset")
    return parsed.astimezone(UTC)


AsOf = Annotated[
    datetime | None, typer.Option("--as-of", parser=moment, metavar="TIME", help="What was true then. Default: now.")
]
KnownAt = Annotated[
    datetime | None,
    typer.Option("--known-at", parser=moment, metavar="TIME", help="What the ledger held then. Default: now."),
]
Ref = Annotated[str, typer.Argument(metavar="REF", help="Id, email, +phone, profile link, or system:key.")]


def place(*parts: str) -> str:
    """A path of these parts, each of which may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)
