"""`rapport erase`: make a person unreadable for good, and the certificate of it."""

import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from api.cli import output
from api.cli.client import Client, RequestRefused, connect
from api.cli.parameters import JSON, Ref, actor
from api.failures import FileRefused
from domain.policy import ErasureGround

ASK_EVERY_S = 0.5
REFUSED_AT_MOST = 120
"""While the node opens the file written anew it answers nothing for some moments."""


def register(app: typer.Typer) -> None:
    """Adds these commands to `app`."""
    app.command("erase", epilog="Example: rapport erase ada@example.com --ground objection --by user:dpo")(erase)


def erase(
    context: typer.Context,
    ref: Ref,
    ground: Annotated[
        ErasureGround | None, typer.Option(help="Why: Art. 17(1) GDPR, or the end of the time for keeping.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="ACTOR", help="Who carries it out, for the certificate; you, if unset.")
    ] = None,
    request: Annotated[str | None, typer.Option(metavar="ID", help="The request it answers.")] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove the stored bodies of the events as well; their hashes remain.")
    ] = False,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", "-o", metavar="FILE", help="Write the certificate there.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[
        bool, typer.Option(help="Wait until the views' file is written anew and the certificate issued.")
    ] = True,
    json: JSON = False,
) -> None:
    """Erase a person (Art. 17 GDPR): every record, key, identifier, view row and copy. It cannot be undone.

    Their identifiers are suppressed, so that no import and no late webhook brings them back. Killed half-way, the next
    start goes on. Asked again, by the id of a record or of the erasure, it shows what was done; with --purge, which may
    be said later, too, it removes the bodies. For somebody not erased yet --ground is needed.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("erasing cannot be undone; say --yes where nobody can be asked")
        typer.confirm(f"Erase {ref} for good, with every record merged with it?", abort=True, err=True)
    with _opened(certificate) as file, connect(context.obj) as client:
        asked = {
            "candidate": ref,
            "ground": None if ground is None else ground.value,
            "by": by or actor(),
            "request": request,
            "purge": purge,
        }
        found = client.send("POST", "/v1/compliance/erasures", json=asked)
        if wait and not found["certified"]:
            found = _finished(client, found, quiet=json)
        if file is not None and found["certified"]:
            _write(file, client.text(f"{_path(found)}/certificate"), found["erasure"])
    if json:
        output.as_json(found)
    else:
        _show(found, certificate)


@contextmanager
def _opened(target: Path | None) -> Iterator[IO[bytes] | None]:
    """The file for the certificate, for its owner only; one that was made and holds nothing is gone again afterwards.

    It is opened before anything is done that cannot be undone. Raises FileRefused.
    """
    if target is None:
        yield None
        return
    try:
        is_new = not target.exists()
        file = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
    except OSError as error:
        raise FileRefused(f"{target} cannot be written: {error.strerror}; nothing was erased") from None
    with file:
        try:
            yield file
        finally:
            if is_new and os.fstat(file.fileno()).st_size == 0:
                target.unlink(missing_ok=True)


def _write(file: IO[bytes], certificate: str, erasure: str) -> None:
    try:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fchmod(file.fileno(), 0o600)
            file.truncate(0)
        file.write(certificate.encode())
        file.flush()
    except OSError as error:
        raise FileRefused(
            f"the erasure is done, and its certificate cannot be written: {error.strerror}; it is written by "
            f"`rapport erase {erasure} --yes -o FILE`"
        ) from None


def _finished(client: Client, found: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """The erasure once it is certified."""
    refused = 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=output.err, disable=quiet, transient=True) as bar:
        task = bar.add_task("nothing can be read of them any more; writing the views' file anew")
        while not found["certified"]:
            time.sleep(ASK_EVERY_S)
            try:
                found = client.send("GET", _path(found))
            except RequestRefused:
                refused += 1
                if refused > REFUSED_AT_MOST:
                    raise
            else:
                refused = 0
                bar.update(task, description=f"last done: {list(found['steps'])[-1]}")
    return found


def _path(found: dict[str, Any]) -> str:
    return f"/v1/compliance/erasures/{found['erasure']}"


def _show(found: dict[str, Any], certificate: Path | None) -> None:
    output.table(
        f"Erasure {found['erasure']} (UTC)",
        ["step", "done"],
        ([step, output.moment(at)] for step, at in found["steps"].items()),
        whole=("step", "done"),
    )
    events = sum(record["events"] for record in found["records"])
    output.say(
        f"{len(found['records'])} records with {events} events cannot be read any more; "
        f"{found['identifiers_suppressed']} identifiers are suppressed"
    )
    if found["purge"]:
        output.say(f"{found['bodies_removed']} bodies of events are removed from the ledger; their hashes remain")
    if not found["certified"]:
        output.say("the views' file is yet to be written anew; the running node does it, or the next start")
    elif certificate is not None:
        output.say(f"certificate: {certificate}")
