"""The files of an export, and the zip archive that has them."""

import zipfile
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from api.disclosure.document import DOCUMENT, EVENTS_FILE, NAMES, Person
from api.disclosure.gathering import Gathered
from api.disclosure.page import page
from api.disclosure.portable import portable
from api.disclosure.resume import resume

README = """\
What is held about you

This is a copy of everything that was held about you (Art. 15 and 20 GDPR).

index.html      all of it, to read and to print: open it in any browser; it needs no network
person.json     the same for a computer: profile, purposes and bases, recipients, retention, scores and how they are
                made, pools, requests, rights, and every row that was derived from the events
events.ndjson   every event about you, one JSON object a line, in the order in which they happened
portable.json   what you provided yourself, to take to somebody else (Art. 20 GDPR)
resume.json     your profile as a JSON Resume (schema 1.0.0), as far as it is known

Made {made_at} from events up to number {until_seq}: {events}.
{unreadable}
These files hold personal data: keep them where only you can read them.
"""


def files(gathered: Gathered) -> Iterator[tuple[str, bytes]]:
    """Each file by its name, in the order of `NAMES`."""
    person, events = gathered
    yield DOCUMENT, _json(person.model_dump())
    yield EVENTS_FILE, b"".join(orjson.dumps(e.document(), option=orjson.OPT_APPEND_NEWLINE) for e in events)
    yield "portable.json", _json(portable(person.candidate, events))
    yield "resume.json", _json(resume(person.profile or {}, person.made_at))
    yield "index.html", page(person, events).encode("utf-8", "replace")
    yield "README.txt", _readme(person).encode()


def archive(gathered: Gathered, folder: Path) -> tuple[IO[bytes], int]:
    """A zip archive of the files, from its beginning, and its size in bytes.

    It lies in `folder` without a name, and is gone when closed. Raises OSError.
    """
    file = TemporaryFile(dir=folder)  # noqa: SIM115 - whoever sends it closes it
    try:
        moment = gathered.person.made_at.astimezone(UTC).timetuple()[:6]
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as whole:
            for name, content in files(gathered):
                info = zipfile.ZipInfo(name, moment)
                info.external_attr = 0o600 << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                whole.writestr(info, content)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, size


def read(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The files in an archive. Raises ValueError when it is not one of ours, or not whole."""
    try:
        with zipfile.ZipFile(file) as whole:
            if tuple(whole.namelist()) != NAMES:
                raise ValueError("it does not hold the files of an export")
            for name in NAMES:
                yield name, whole.read(name)
    except zipfile.BadZipFile as error:
        raise ValueError("it is no whole archive") from error


def _json(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _readme(person: Person) -> str:
    lost = len(person.events.unreadable)
    note = (
        f"\n{lost:,} events are held that could not be opened; index.html and person.json say which.\n" if lost else ""
    )
    made_at = person.made_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    events = f"{person.events.count:,} events"
    return README.format(made_at=made_at, until_seq=person.until_seq, events=events, unreadable=note)
