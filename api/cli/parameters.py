"""Options that many commands share."""

import getpass
import re
from datetime import UTC, datetime
from typing import Annotated

import typer


def actor() -> str:
    """Who acts through the command line: the user of the machine."""
    return f"user:{getpass.getuser()}"


JSON = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


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
