"""Who looked: the record of one read of personal data, and the chain that ties such records together.

A record says in which role somebody read what, about whom, and what came of it. It holds ids without meaning, closed
words, counts and digests: no identifier of a person, no name, no text that anybody typed. So it may outlive the people
it is about (Art. 5(2), 32 GDPR), and erasing a person need not touch it.

A line of the log is `<hash> <previous> <record>`: the record as JSON with its keys in order, the hash of the line
before it, and SHA-256 over that hash's 32 bytes and the record's. Whoever changes, removes, inserts or reorders lines
breaks it; `Chain` says where. Someone who can write the whole log anew can make a whole chain, too: against that stands
a hash that was noted elsewhere.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.event import HexId, UtcDatetime

MOST_NAMED = 100
"""Persons that a record names by id; of more it has the number alone."""

_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}) (\{[^\n]*\})\Z")


class Read(StrEnum):
    """What is read."""

    PROFILE = "profile"
    TIMELINE = "timeline"
    TRAIL = "trail"
    EVIDENCE = "evidence"
    CONTACTABILITY = "contactability"
    EXPLANATION = "explanation"  # a person's score, with or without what it is made of
    RANKING = "ranking"
    POOLS = "pools"
    MEMBERS = "members"
    EXPORT = "export"
    REQUESTS = "requests"
    CERTIFICATE = "certificate"
    SUPPRESSION = "suppression"  # whether an identifier is one of somebody erased, or that it is one no more
    FINDINGS = "findings"
    DEAD_LETTERS = "dead_letters"
    SQL = "sql"
    SNAPSHOT = "snapshot"
    PARQUET = "parquet"
    ACCESS_LOG = "access_log"
    UNDECLARED = "undeclared"  # by a route that does not say what it reads
    RETENTION = "retention"  # no read: the log's oldest records were removed, their time being over


class Outcome(StrEnum):
    """What came of it; settled before the first byte of the answer is sent."""

    SERVED = "served"
    REFUSED = "refused"
    FAILED = "failed"


class Schema(StrEnum):
    """What SQL can name; a schema that there is not, which is text that somebody typed, is `other`."""

    MAIN = "main"
    PII = "pii"
    OPS = "ops"
    OTHER = "other"


Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Access(BaseModel):
    """One read, or one removal of old records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    occurred_at: UtcDatetime
    """When the answer was ready, by the node's clock."""
    role: Word
    """The caller's; `unknown` for a token of nobody, `node` for what a node does by itself."""
    token: Word | None = None
    """The name of the token that was presented; None without one."""
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Who it was, as the identity provider calls them; None of a generated token, which stands for a role."""
    what: Read
    outcome: Outcome
    route: Annotated[str, Field(pattern=r"^[A-Z]+ /[\w{}/.:-]*$", max_length=200)] | None = None
    """Method and template, such as `GET /v1/candidates/{ref}`: never a path, which may hold an address."""
    request: HexId | None = None
    """The id that the answer bears in its header `Rapport-Request`."""
    candidates: Annotated[tuple[HexId, ...], Field(max_length=MOST_NAMED)] = ()
    """Records of the persons read about; empty where there are more than `MOST_NAMED`, and where none is known."""
    count: Annotated[int, Field(ge=0)] | None = None
    """How many persons; of SQL, how many rows; of retention, how many records. None where nobody knows."""
    schemas: tuple[Schema, ...] = ()
    """What an SQL statement names; empty when it is not SQL."""
    statement: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of an SQL statement in UTF-8, to be compared with one at hand."""
    statement_chars: Annotated[int, Field(ge=0)] | None = None
    through: Annotated[int, Field(ge=1)] | None = None
    """Of retention: the last record that was removed."""


class Head(NamedTuple):
    """Where a chain has come to: the number of its last record, and that line's hash."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"

    @classmethod
    def of(cls, text: str) -> "Head":
        """What `str` of a head says. Raises ValueError for anything else."""
        if not re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", text):
            raise ValueError("a head is written NUMBER:HASH, as `rapport access verify` prints it")
        number, _, digest = text.partition(":")
        return cls(int(number), digest)


START = Head(0, "0" * 64)
"""Before the first record."""


class Entry(NamedTuple):
    """A line of the log, taken apart."""

    number: int
    hash: str
    previous: str
    access: Access

    @property
    def head(self) -> Head:
        """The chain's head when this is its last line."""
        return Head(self.number, self.hash)


def line_of(head: Head, access: Access) -> tuple[bytes, Head]:
    """The line that records `access` behind `head`, and the head from then on."""
    content = {"number": head.number + 1} | access.model_dump(mode="json", exclude_defaults=True)
    record = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    digest = _hash(head.hash, record)
    return b"%b %b %b" % (digest.encode(), head.hash.encode(), record), Head(head.number + 1, digest)


def entry_of(line: bytes) -> Entry:
    """The line taken apart, whether or not it fits its hash. Raises ValueError when it is none."""
    found = _LINE.match(line)
    if found is None:
        raise ValueError("not a line of an access log")
    try:
        content = json.loads(found[3])
        number = content.pop("number")
        access = Access.model_validate(content)
    except (KeyError, AttributeError, RecursionError, ValidationError):
        raise ValueError("not a record of an access log") from None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError("not a record of an access log")
    return Entry(number, found[1].decode(), found[2].decode(), access)


def _hash(previous: str, record: bytes) -> str:
    return sha256(bytes.fromhex(previous) + record).hexdigest()


@dataclass
class Chain:
    """Checks lines in the order in which the log holds them: `take` each, then `end`.

    What is found is told once, and the check goes on from the line at which it was.
    """

    noted: Head | None = None
    """A head that was noted earlier; the log must hold that record with that hash."""
    head: Head = START
    first: int | None = None
    """Number of the first record that is kept; None while there is none."""
    _through: int = 0
    _met: bool = field(default=False)

    def take(self, line: bytes) -> list[str]:
        """What is wrong with this line, or with its place; each a sentence."""
        try:
            entry = entry_of(line)
        except ValueError as error:
            return [f"behind record {self.head.number} stands what is {error}"]
        found = []
        if _hash(entry.previous, line[130:]) != entry.hash:
            found.append(f"record {entry.number} was changed")
        if self.first is None:
            self.first = entry.number
            if entry.number == 1 and entry.previous != START.hash:
                found.append("record 1 does not begin the chain")
        elif entry.number != self.head.number + 1 or entry.previous != self.head.hash:
            found.append(self._misplaced(entry))
        if entry.access.what is Read.RETENTION:
            self._through = max(self._through, entry.access.through or 0)
        if self.noted is not None and entry.number == self.noted.number:
            self._met = True
            if entry.hash != self.noted.hash:
                found.append(f"record {entry.number} is not the one whose hash was noted: the log was written anew")
        self.head = entry.head
        return found

    def _misplaced(self, entry: Entry) -> str:
        at = self.head.number
        if entry.number > at + 1:
            return f"between records {at} and {entry.number} some are missing"
        if entry.number == at + 1:
            return f"record {entry.number} does not follow the record {at} that stands before it"
        return f"record {entry.number} stands behind record {at}"

    def end(self) -> list[str]:
        """What is wrong with the log as a whole; each a sentence."""
        found = []
        first = self.first or 1
        if first - 1 > self._through:
            found.append(f"records up to {first - 1} are missing, and no record says that their time was over")
        if self.noted is not None and not self._met and (self.noted.number >= first or self.first is None):
            found.append(f"record {self.noted.number}, whose hash was noted, is missing")
        return found


def broken(lines: Iterable[bytes], noted: Head | None = None) -> list[str]:
    """What is wrong with a log of these lines; empty when its chain is whole. A lost end shows only in `noted`."""
    chain = Chain(noted)
    return [sentence for line in lines for sentence in chain.take(line)] + chain.end()
