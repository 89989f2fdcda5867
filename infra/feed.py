"""The feed on JetStream: published messages in a stream of their own, each once and in order, whoever writes them.

Every message is published against the stream's last sequence, alone or as an atomic batch, so of two writers one is
refused and looks again where the feed ends. Each carries, in one header, how far the feed had come with it (`Place`):
its last message says where to go on, after whatever. So that there always is a last message, the stream has no limit
of age of its own, which would take that one too; `retain` removes what is old and leaves it.
"""

import asyncio
import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

from domain.published import Message
from domain.published_schemas import VERSION
from infra.access_reading import first_that
from infra.jetstream import ApiError, Connection, ConnectionLost, Follower, RawMessage
from infra.jetstream.batch import CONFLICTS, TRY_AGAIN, publish_batch, publish_one
from infra.jetstream.select import PAGE, page_request, place_in, read_as
from infra.jetstream.stream import NOT_FOUND, Stream, durable_settings, ensure, get_message, state

MOST = 1_000
"""Messages that can be appended together."""
CONTENT_TYPE = "application/cloudevents+json"
CONFIRMED_WITHIN_S = 5.0
FOLLOWED_AHEAD, FOLLOW_WAIT_S = 250, 1.0
"""As many messages in a batch at most, and for so long there may be none in an answer."""
_PLACE = b"Rapport-Place: "


class Overtaken(Exception):
    """Another writer came first, or it is not known who did: look where the feed ends."""


class Place(NamedTuple):
    """How far the feed has come, with a message and all before it. Positions are 0 and times None for not at all.

    What is derived from views is told by difference from what was told before; `settled` to `settled_at` say with
    which views that agreed as a whole, so that it can be computed again when the messages are gone.
    """

    ledger: int = 0
    """The ledger position up to which every event is on the feed."""
    derived: int = 0
    """The feed position of the last message that was derived from views."""
    views: int = 0
    """The ledger position of the views that it was derived from."""
    at_us: int = 0
    """The time for which they were asked, in µs since 1970."""
    settled: int = 0
    """The feed position of the last derived message by which all was told that the views said."""
    settled_views: int = 0
    settled_at_us: int = 0

    @property
    def text(self) -> str:
        """As it stands in the header."""
        return " ".join(map(str, self))

    @classmethod
    def of(cls, header: bytes) -> "Place":
        """From a raw header block. Raises ValueError when it has none."""
        at = header.index(_PLACE) + len(_PLACE)
        return cls(*map(int, header[at : header.index(b"\r", at)].split()))


class End(NamedTuple):
    """Where the feed ends: its last sequence, and the place that its last message carries."""

    seq: int
    place: Place


class Draft(NamedTuple):
    """A message to be appended, and the place that the feed has come to with it.

    A message without an id is named after its own position.
    """

    message: Message
    place: Place


class Extent(NamedTuple):
    """The first and last position that the stream has, how many messages lie between, and what they take."""

    first_seq: int
    last_seq: int
    messages: int
    size_bytes: int
    created: str


class Feed:
    """The feed of one ledger, in the stream `FEED` beside `LEDGER`. Safe to share between threads."""

    def __init__(self, connection: Connection, ledger: Stream, public_url: str) -> None:
        """`public_url` is where subscribers reach a node: schemas are named by it."""
        self.stream = feed_of(ledger)
        self.public_url = public_url.rstrip("/")
        self._connection = connection
        settings = durable_settings(
            self.stream, max_msgs_per_subject=-1, allow_rollup_hdrs=False, deny_delete=True, deny_purge=False
        )
        connection.call(ensure(connection, self.stream, settings))

    def end(self) -> End:
        """Where the feed ends, from its leader. Raises OperationalError."""
        return self._connection.call(self._end())

    def extent(self) -> Extent:
        """What the stream holds. Raises OperationalError."""
        info = self._connection.call(self._connection.read_api(f"STREAM.INFO.{self.stream.name}"))
        held = info["state"]
        return Extent(held["first_seq"], held["last_seq"], held["messages"], held["bytes"], info["created"])

    def append(self, drafts: Sequence[Draft], end: End) -> End:
        """Stores up to `MOST` messages behind `end`, all or none; where the feed ends then.

        Raises Overtaken when they are not stored, as far as can be told, and OperationalError when the server cannot
        store them.
        """
        return self._connection.call(self._append(drafts, end))

    def derived(self, after: int, until: int) -> list[RawMessage]:
        """The messages derived from views behind `after`, up to `until`, in their order. Raises OperationalError.

        A replica that is behind may not have the last ones yet.
        """
        return self._connection.call(self._derived(after, until), 3_600.0)

    def page(self, after: int, limit: int) -> list[RawMessage]:
        """Up to `limit` messages behind `after`, in their order. Raises OperationalError."""
        request = page_request(self.stream, None, after + 1, limit)
        return self._connection.call(read_as(self._connection, self.stream, request, _taken))[0]

    def follow(self, after: int) -> "FeedFollower":
        """All messages behind `after`, and those to come."""
        return FeedFollower(self._connection, self.stream, after, FOLLOWED_AHEAD, FOLLOW_WAIT_S)

    def last_said(self, type_: str) -> dict[str, Any] | None:
        """What the last message of a type says; None when there is none. From the leader. Raises OperationalError."""
        subject = f"{self.stream.prefix}.{type_}"
        found = self._connection.call(get_message(self._connection, self.stream, last_by_subj=subject))
        return None if found is None else orjson.loads(found.body)["data"]

    def first_since(self, moment: datetime) -> int:
        """The position of the first message stored at `moment` or later; one behind the last when there is none."""
        return self._connection.call(first_that(self._connection, self.stream, lambda m: m.recorded_at >= moment))

    def retain(self, moment: datetime) -> int:
        """Removes what was stored before `moment`, but never the last message; how many. Raises OperationalError."""
        end = self.end()
        keep = min(self.first_since(moment), end.seq)
        if end.place.settled < end.place.derived:
            keep = min(keep, end.place.settled + 1)  # without these, nobody could tell what was derived by now
        before = self.extent()
        if keep <= max(before.first_seq, 1):
            return 0
        try:
            self._connection.call(self._connection.api(f"STREAM.PURGE.{self.stream.name}", {"seq": keep}))
        except ApiError as error:
            raise OperationalError(f"the feed is not shortened: {error.description}") from error
        return keep - before.first_seq

    def body(self, message: Message, seq: int) -> bytes:
        """The message at `seq` as a CloudEvent 1.0, structured JSON."""
        event = {
            "specversion": "1.0",
            "id": message.id or f"feed/{seq}",
            "source": f"{self.public_url}/v1/feed",
            "type": f"rapport.{message.type}.v{VERSION}",
            "subject": message.subject,
            "time": message.time,
            "datacontenttype": "application/json",
            "dataschema": f"{self.public_url}/v1/feed/schemas/{message.type}/{VERSION}",
        }
        if "recorded_at" in message.data:
            event["recordedtime"] = message.data["recorded_at"]
        return orjson.dumps(event | {"data": message.data})

    async def _append(self, drafts: Sequence[Draft], end: End) -> End:
        bodies = [self.body(draft.message, end.seq + n) for n, draft in enumerate(drafts, 1)]
        headers = [_header(draft) for draft in drafts]
        headers[0] += b"Nats-Expected-Last-Sequence: %d\r\n" % end.seq
        subjects = [f"{self.stream.prefix}.{draft.message.type}" for draft in drafts]
        new = End(end.seq + len(drafts), drafts[-1].place)
        try:
            if len(drafts) == 1:
                one = subjects[0], bodies[0], None
                seq = await publish_one(self._connection, *one, timeout_s=CONFIRMED_WITHIN_S, header=headers[0])
            else:
                messages = [(subject, body, None) for subject, body in zip(subjects, bodies, strict=True)]
                seq = await publish_batch(self._connection, messages, CONFIRMED_WITHIN_S, headers)
            if seq != new.seq:
                raise OperationalError(f"the feed stored position {seq} where {new.seq} was to come")
            return new
        except ConnectionLost:
            await self._connection.wait_connected(self._connection.request_timeout_s)
        except ApiError as error:
            if error.code not in CONFLICTS + TRY_AGAIN:
                raise OperationalError(f"the feed cannot store: {error.description}") from error
        # An answer may be lost, and a leader that was cut off refuses what the one after it stores.
        stored = await get_message(self._connection, self.stream, seq=new.seq)
        if stored is not None and stored.body == bodies[-1] and stored.subject == subjects[-1]:
            return new
        raise Overtaken

    async def _end(self) -> End:
        while True:
            seq = int((await state(self._connection, self.stream))["last_seq"])
            if seq == 0:
                return End(0, Place())
            try:
                found = await self._connection.read_api(f"STREAM.MSG.GET.{self.stream.name}", {"seq": seq})
                return End(seq, Place.of(base64.b64decode(found["message"].get("hdrs", ""))))
            except ApiError as error:
                if error.code != NOT_FOUND:
                    raise OperationalError(f"the feed's end cannot be read: {error.description}") from error
                if seq == int((await state(self._connection, self.stream))["last_seq"]):
                    raise OperationalError(self._unplaced(seq)) from None
            except (ValueError, TypeError):
                raise OperationalError(self._unplaced(seq)) from None
            await asyncio.sleep(0)

    def _unplaced(self, seq: int) -> str:
        return (
            f"the last message of the stream {self.stream.name} (position {seq}) was removed, or is none of Rapport's, "
            "and with it the place where to go on: delete the stream to begin the feed anew from the first event, and "
            "tell the subscribers"
        )

    async def _derived(self, after: int, until: int) -> list[RawMessage]:
        found: list[RawMessage] = []
        for kind in ("pool", "engagement"):
            seq, more = after + 1, True
            while more and seq <= until:
                request = page_request(self.stream, f"{self.stream.prefix}.{kind}.>", seq, PAGE)
                page, more = await read_as(self._connection, self.stream, request, _taken)
                found += [message for message in page if message.seq <= until]
                seq = page[-1].seq + 1 if page else seq
        return sorted(found)


class FeedFollower(Follower):
    """Follows the feed for a task of another event loop than the connection's."""

    async def take(self) -> list[RawMessage] | None:
        """The next batch; empty after a while without messages, None after `stop()`. Raises OperationalError."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._take(), self._connection.loop))


def feed_of(ledger: Stream) -> Stream:
    """The stream of a ledger's feed."""
    if (ledger.name, ledger.prefix) == ("LEDGER", "ledger"):
        return Stream("FEED", "feed", ledger.replicas)
    return Stream(f"{ledger.name}_FEED", f"{ledger.prefix}_feed", ledger.replicas)


def type_of(stream: Stream, subject: str) -> str:
    """The published type that a message on this subject has."""
    return subject.removeprefix(f"{stream.prefix}.")


def data_of(message: RawMessage) -> dict[str, Any]:
    """What a message says."""
    data: dict[str, Any] = orjson.loads(message.body)["data"]
    return data


def _header(draft: Draft) -> bytes:
    return b"Content-Type: %b\r\n%b%b\r\n" % (CONTENT_TYPE.encode(), _PLACE, draft.place.text.encode())


def _taken(buffer: bytes, header: int, body: int, end: int) -> RawMessage:
    subject, seq, _ = place_in(buffer, header, body)
    return RawMessage(int(seq), 0, subject.decode(), buffer[body:end])
