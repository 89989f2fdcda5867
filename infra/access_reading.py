"""Reading the access log: its records in their order, and whether they are all there."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from domain.access import START, Chain, Entry, Head, entry_of
from infra.jetstream import Connection, LedgerReader, RawMessage
from infra.jetstream.stream import StoredMessage, Stream, get_message, recorded_at, state

PAGE = 500
SKEW = timedelta(hours=1)
"""By how much a node's clock and the stream's may differ, and no record of a stretch of time be missed."""
MOST_FINDINGS = 100


class Verified(NamedTuple):
    """What there is of the log, and what is wrong with it. `first` and `head` are None for an empty one."""

    records: int
    first: int | None
    head: Head | None
    findings: list[str]
    """At most `MOST_FINDINGS` and one, which says how many there are."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def entries(
    connection: Connection,
    stream: Stream,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int = 0,
) -> Iterator[Entry]:
    """Records behind number `after`, in their order, from about `since` to about `until`.

    Up to `SKEW` more on either side: callers look at the records' own times. What is no record is passed over;
    `verify` tells of it. Raises OperationalError.
    """

    def is_wanted(message: StoredMessage) -> bool:
        last = last_entry(message.body)
        recent = since is None or message.recorded_at >= since - SKEW
        return recent and (last is None or last.number > after)

    start = 0
    if since is not None or after:
        start = connection.call(first_that(connection, stream, is_wanted)) - 1
    for message in _messages(connection, stream, start):
        if until is not None and recorded_at(message.time_ns) > until + SKEW:
            return
        yield from (entry for entry in entries_in(message.body) if entry.number > after)


def verify(connection: Connection, stream: Stream, noted: Head | None = None) -> Verified:
    """Reads the whole log. `noted` is a head that somebody noted. Raises OperationalError."""
    chain, records, findings, wrong = Chain(noted), 0, list[str](), 0
    held = connection.call(state(connection, stream))
    seq: int = max(held["first_seq"], 1) - 1

    def note(found: list[str]) -> None:
        nonlocal wrong
        wrong += len(found)
        findings.extend(found[: MOST_FINDINGS - len(findings)])

    for message in _messages(connection, stream, 0, held["last_seq"]):
        if records and message.seq != seq + 1:  # what is missing at the front the chain tells
            note([f"messages {seq + 1} to {message.seq - 1} of the stream are missing"])
        if not records and message.seq > 1 and _begins(message.body):
            note([f"the chain begins anew at message {message.seq} of the stream: what stood before is missing"])
        seq = message.seq
        for line in message.body.split(b"\n"):
            records += 1
            note(chain.take(line))
    if not records and held["last_seq"]:
        note([f"the log is empty, and the stream gave out {held['last_seq']} messages"])
    elif seq < held["last_seq"]:
        note([f"the log ends at message {seq}, and the stream gave out {held['last_seq']}: its end is missing"])
    note(chain.end())
    if wrong > len(findings):
        findings.append(f"{wrong - len(findings):,} more")
    return Verified(records, chain.first, chain.head if chain.head != START else None, findings)


def _messages(
    connection: Connection, stream: Stream, after_seq: int, stop_seq: int | None = None
) -> Iterator[RawMessage]:
    for batch in LedgerReader(connection, stream).read_batches(after_seq, PAGE, stop_seq=stop_seq):
        yield from batch


async def first_that(connection: Connection, stream: Stream, holds: Callable[[StoredMessage], bool]) -> int:
    """The first seq whose message it holds of, if it holds of all after that; one behind the last if of none."""
    held = await state(connection, stream)
    low, high = max(held["first_seq"], 1), held["last_seq"] + 1
    while low < high:
        middle = (low + high) // 2
        message = await get_message(connection, stream, seq=middle)
        if message is None or holds(message):  # rather too early than too late
            high = middle
        else:
            low = middle + 1
    return int(low)


def entries_in(body: bytes) -> list[Entry]:
    """The records of a message; what is none is left out."""
    found = []
    for line in body.split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(entry_of(line))
    return found


def _begins(body: bytes) -> bool:
    """Whether a chain begins with this message."""
    return any(entry.number == 1 for entry in entries_in(body.partition(b"\n")[0]))


def last_entry(body: bytes) -> Entry | None:
    """The last record of a message, if it holds any."""
    entries = entries_in(body[body.rfind(b"\n") + 1 :]) or entries_in(body)
    return entries[-1] if entries else None
