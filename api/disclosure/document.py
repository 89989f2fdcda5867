"""`person.json`: its structure, in this order. Times are RFC 3339 in UTC, ids 32 hexadecimal digits.

`python -m api.disclosure.document > docs/person-export.schema.json` writes it as a JSON Schema.
"""

import sys
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from domain.event import HexId

FORMAT: Literal["rapport-person"] = "rapport-person"
VERSION: Literal[1] = 1
"""Raised when a field goes or means something else; a new field alone does not."""

DOCUMENT, EVENTS_FILE = "person.json", "events.ndjson"
NAMES = (DOCUMENT, EVENTS_FILE, "portable.json", "resume.json", "index.html", "README.txt")
"""The files of an export, in the order in which they are written: the first says whose it is."""

Row = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(_Part):
    """The request that this answers."""

    request: HexId
    asks_for: str
    received_at: datetime
    due_at: datetime


class Category(_Part):
    """A kind of data (Art. 15(1)(b)): the name of a field, and how many events have it."""

    field: str
    events: int
    sealed: bool = Field(description="stored encrypted, with a key of the person's own")


class Use(_Part):
    """A purpose (Art. 15(1)(a)) on a channel, and what the use rests on at present. `*`: any that is not named."""

    purpose: str
    channel: str
    allowed: bool
    status: str = Field(description="a basis of Art. 6(1) GDPR, or why there is none")
    since: datetime
    until: datetime | None
    decided_by_seq: int | None
    lia: str | None = Field(description="reference of the legitimate interest assessment")
    notice_version: str | None


class Controller(_Part):
    """Who is responsible for the data, as the policy has it."""

    name: str
    contact: str
    data_protection_officer: str


class Purpose(_Part):
    """What data is used for in general, as the policy has it."""

    name: str
    description: str
    basis: str
    articles: str


class RecipientCategory(_Part):
    """A kind of recipients (Art. 15(1)(c)), and the third countries that they are in (Art. 15(2))."""

    who: str
    receives: str
    third_countries: str


class Recipient(_Part):
    """Somebody to whom data was disclosed (Art. 15(1)(c)), who was told what to do with it (Art. 19)."""

    recipient: str
    told_of: str
    told_at: datetime
    acknowledged: bool
    seq: int


class System(_Part):
    """A system or provider that events name as where they came from: a category of recipients, or of sources."""

    label: str
    events: int
    types: list[str]
    first_at: datetime
    last_at: datetime


class Kept(_Part):
    """How long data is kept (Art. 15(1)(d)), and by which rule."""

    what: str
    rule: str
    source: str | None = None


class Source(_Part):
    """Where data came from, if not from the person (Art. 15(1)(g))."""

    source: str | None
    at: datetime
    from_the_person: bool
    seq: int


class Logic(_Part):
    """How the score is made, and what it is good for (Art. 15(1)(h), Art. 22 GDPR; Art. 86 AI Act)."""

    model: str
    explanation: str
    half_life_days: float
    saturation_points: float
    machine_within_s: float
    weight_points: dict[str, float]
    consequences: str


class Scores(_Part):
    """The engagement score, and each event that it is made of, with what it adds and why."""

    logic: Logic
    score: Row | None
    contributions: list[Row]


class Right(_Part):
    """A right of the person (Art. 15(1)(e) and (f))."""

    article: str
    right: str


class Derived(_Part):
    """The rows of one view that are about the person."""

    description: str
    columns: dict[str, str]
    rows: list[Row]
    problem: str | None = Field(None, description="why the view could not be asked")


class Unreadable(_Part):
    """An event that is held and could not be opened. Those of the same record behind it are in no derived row."""

    seq: int
    record: HexId
    version: int
    type: str
    recorded_at: datetime
    reason: str


class Events(_Part):
    """What `events.ndjson` holds."""

    file: str
    count: int
    unreadable: list[Unreadable]


class Person(_Part):
    """Everything that is held about one person, up to the ledger position `until_seq`.

    Rows have the columns of the view that they are of, which `docs/views.md` and `derived` describe.
    """

    format: Literal["rapport-person"]
    version: Literal[1]
    made_at: datetime
    until_seq: int
    candidate: HexId = Field(description="the record that stands for the person")
    records: list[HexId] = Field(description="all records of the person, merged ones included")
    request: Asked | None
    controller: Controller
    profile: Row | None
    categories: list[Category]
    purposes: list[Purpose]
    uses: list[Use]
    recipients: list[Recipient]
    recipient_categories: list[RecipientCategory]
    systems: list[System]
    retention: list[Kept]
    sources: list[Source]
    scores: Scores
    pools: list[Row]
    placements: list[Row]
    requests: list[Row]
    rights: list[Right]
    events: Events
    derived: dict[str, Derived]


def schema() -> bytes:
    """The JSON Schema of `person.json`."""
    found = Person.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS)


if __name__ == "__main__":
    sys.stdout.buffer.write(schema())
