"""`rapport export`: everything that is held about one person, as files for that person."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Any
from urllib.parse import quote

import orjson
import typer

from api.cli import output
from api.cli.client import Client, connect
from api.cli.exporting import CHUNK_BYTES, writing
from api.cli.parameters import JSON, Ref
from api.failures import FileRefused

"""What an attempt that was killed may have left; the next one writes over it."""


def register(app: typer.Typer) -> None:
    """Adds this command to `app`."""
    app.command()(export)


def export(
    context: typer.Context,
    ref: Ref,
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder, an empty one, or an earlier export.")
    ],
    request: Annotated[
        str | None, typer.Option(metavar="ID", help="The request that this answers. It stays open until it is closed.")
    ] = None,
    json: JSON = False,
) -> None:
    """Everything that is held about one person, to hand out: as a page to read, and as JSON (Art. 15 and 20 GDPR)."""
    earlier = records_in(folder)
    watched = output.err.is_terminal and not json
    with _into(folder) as file:
        with connect(context.obj) as client, output.err.status("gathering…") if watched else nullcontext():
            size = _fetch(client, ref, request, file)
        file.seek(0)
        person = _write(file, folder, earlier)
    if json:
        output.as_json(person | {"folder": str(folder.absolute()), "archive_bytes": size})
        return
    output.say(f"{person['events']:,} events and what was derived from them in {folder}; open index.html to read them")
    if person["unreadable"]:
        output.say(f"{len(person['unreadable']):,} events could not be opened; the files say which and why")
    if request is not None:
        output.say(f"when it has been handed out: rapport requests close {request} --outcome fulfilled")


def records_in(folder: Path) -> frozenset[str] | None:
    """Whose earlier export lies there, by records; None where nothing does. Raises FileRefused for anything else."""
    from api.disclosure.document import DOCUMENT, FORMAT, NAMES

    left_over = {f".{name}.new" for name in NAMES}
    try:
        names = {path.name for path in folder.iterdir()} - left_over
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileRefused(f"{folder} cannot be read: {error.strerror}; choose another folder") from None
    if not names:
        return None
    if names <= set(NAMES) and DOCUMENT in names:
        try:
            found = orjson.loads((folder / DOCUMENT).read_bytes())
            if found["format"] == FORMAT:
                return frozenset(found["records"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
    raise FileRefused(f"{folder} is not empty, and no earlier export of this person; choose another folder")


@contextmanager
def _into(folder: Path) -> Iterator[IO[bytes]]:
    """A file without a name in `folder`, which is made if need be, and gone again when nothing comes of it.

    Raises FileRefused.
    """
    made = not folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    except OSError as error:
        raise FileRefused(f"{folder} cannot be written: {error.strerror}; choose another folder") from None
    try:
        with file:
            yield file
    except BaseException:
        with suppress(OSError):
            if made:
                folder.rmdir()  # which leaves one that holds anything
        raise


def _fetch(client: Client, ref: str, request: str | None, file: IO[bytes]) -> int:
    """The archive as it comes; its size in bytes. Raises RequestRefused or FileRefused."""
    path = f"/v1/compliance/candidates/{quote(ref, safe='')}/export"
    with client.stream("GET", path, request=request) as answer:
        try:
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                file.write(chunk)
            file.flush()
        except OSError as error:
            raise FileRefused(f"the export cannot be written: {error.strerror}; nothing was changed") from None
    return file.tell()


def _write(file: IO[bytes], folder: Path, earlier: frozenset[str] | None) -> dict[str, Any]:
    """The files, each whole or not at all; what the export is about. Raises FileRefused."""
    from api.disclosure.archive import read
    from api.disclosure.document import DOCUMENT

    about: dict[str, Any] = {}
    try:
        for name, content in read(file):
            if name == DOCUMENT:
                about = _about(content)
                if earlier is not None and earlier.isdisjoint(about["records"]):
                    raise FileRefused(f"{folder} holds an export of somebody else; choose another folder")
            with writing(folder / name) as beside:
                beside.touch(mode=0o600)
                beside.write_bytes(content)
    except ValueError as error:
        raise FileRefused(f"what the node sent is no export ({error}); run the command again") from None
    return about


def _about(content: bytes) -> dict[str, Any]:
    person = orjson.loads(content)
    named = {name: person[name] for name in ("candidate", "records", "until_seq", "made_at")}
    return named | {"events": person["events"]["count"], "unreadable": person["events"]["unreadable"]}
