"""A bucket of JetStream's key-value store for keys and claims: durable, synchronous, and able to forget for good."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import DataError, IntegrityError, OperationalError

from infra.jetstream.batch import CONFLICTS, publish_batch, publish_one
from infra.jetstream.connection import Connection
from infra.jetstream.lane import Request
from infra.jetstream.pipeline import pipelined
from infra.jetstream.reader import LedgerReader
from infra.jetstream.replies import ApiError, ConnectionLost
from infra.jetstream.select import PAGE, PAGE_TRY_S, more_behind, place_in
from infra.jetstream.stream import (
    StoredMessage,
    Stream,
    durable_settings,
    ensure,
    erase_messages,
    erase_subject,
    get_message,
    scan_subject,
    state,
)

IN_FLIGHT = 256
BATCH = 500
SMALL = 8  # a batch costs the server as much as this many single messages
MANY = 50  # from here on, keys are read by the page
PAGE_IN_ORDER = 5_000
ATTEMPTS = 5
BULK_TIMEOUT_S = 3_600.0
_KEY = re.compile(r"[0-9a-zA-Z_=/-]+(\.[0-9a-zA-Z_=/-]+)*\Z")
_MARKER = b"KV-Operation: DEL\r\n"


class Entry(NamedTuple):
    """A value, its revision, and when it was stored."""

    value: bytes
    revision: int
    recorded_at: datetime


class Bucket:
    """The bucket `name`, created if it is not there; other KV clients can read it.

    Values are not empty: an empty one is how a deleted key looks. Reads see every write this process made. Revisions
    beyond `history` are overwritten on disk as soon as there is a newer one: a limit of the server's own would leave
    their bytes. After `keep_s`, if that is not 0, a value is gone.

    Keys take `0-9 a-z A-Z _ = . / -`; others raise DataError, as do empty values.
    """

    def __init__(self, connection: Connection, name: str, history: int = 1, replicas: int = 1, keep_s: int = 0) -> None:
        self.name = name
        self._connection = connection
        self._history = history
        self._prefix = f"$KV.{name}."
        self.stream = Stream(f"KV_{name}", self._prefix[:-1], replicas)
        connection.call(ensure(connection, self.stream, _settings(self.stream, keep_s)))

    def get(self, key: str) -> bytes | None:
        """The value, None when there is none."""
        return self.get_many([key]).get(key)

    def get_entry(self, key: str) -> Entry | None:
        """The value with its revision (for `update`) and age, None when there is none."""
        found = self._connection.call(self._last(key))
        return Entry(found.body, found.seq, found.recorded_at) if found is not None and found.body else None

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of those keys that have one."""
        return {key: value for key, value in self._stored(keys).items() if value}

    def unknown(self, keys: Iterable[str]) -> set[str]:
        """Those of which nothing is stored, not even a mark that says that the value was deleted."""
        wanted = set(keys)
        return wanted - self._stored(wanted).keys()

    def _stored(self, keys: Iterable[str]) -> dict[str, bytes]:
        """What is stored of each key, nothing where it was deleted."""
        wanted = list(dict.fromkeys(keys))
        values: dict[str, bytes] = {}
        if len(wanted) >= MANY and self.stream.replicas == 1:  # of several, one that is behind might answer
            with contextlib.suppress(OperationalError):
                for start in range(0, len(wanted), PAGE):
                    values |= self._page(wanted[start : start + PAGE])
                return values
        found = self._connection.call(pipelined(wanted, self._last, IN_FLIGHT), BULK_TIMEOUT_S)
        return {key: entry.body for key, entry in zip(wanted, found, strict=True) if entry is not None}

    def _page(self, keys: Sequence[str]) -> dict[str, bytes]:
        """`_stored` for up to `PAGE` keys in one request, a fifth of the work or less. Raises OperationalError."""
        query = {"multi_last": [self._subject(key) for key in keys], "batch": len(keys)}
        request = Request(f"$JS.API.DIRECT.GET.{self.stream.name}", b"", orjson.dumps(query))
        with self._connection.lanes.lane() as lane:
            page, status = lane.collect(lane.ask(request), PAGE_TRY_S, self._entry)
        more_behind(self.stream, status)
        return dict(page)

    def _entry(self, buffer: bytes, header: int, body: int, end: int) -> tuple[str, bytes]:
        subject, _, _ = place_in(buffer, header, body)
        return subject.decode()[len(self._prefix) :], buffer[body:end]

    def load_all(self) -> dict[str, bytes]:
        """Every key that has a value."""
        values: dict[str, bytes] = {}
        for page in self.pages():
            values |= page
        return {key: value for key, value in values.items() if value}

    def pages(self) -> Iterator[dict[str, bytes]]:
        """Everything stored by now, oldest first, a page at a time; an empty value says that the key has none any more.

        Raises OperationalError when it cannot be read to its end.
        """
        start = len(self._prefix)
        for batch in LedgerReader(self._connection, self.stream).read_batches(0, PAGE_IN_ORDER):
            yield {message.subject[start:]: message.body for message in batch}

    def revisions(self) -> int:
        """How many values are stored, those of one key and deletions counted each."""
        return int(self._connection.call(state(self._connection, self.stream))["messages"])

    def create(self, key: str, value: bytes) -> bool:
        """Sets the value if the key has none; whether it did. Of many at a time exactly one gets True."""
        return self.create_many({key: value})[key]

    def create_many(self, items: Mapping[str, bytes]) -> dict[str, bool]:
        """`create` for each, many in flight."""
        for key, value in items.items():
            self._subject(key)
            _checked(value)
        return self._connection.call(self._create_many(dict(items)), BULK_TIMEOUT_S)

    def put(self, key: str, value: bytes) -> int:
        """Sets the value, whatever it was; the revision."""
        return self._connection.call(self._overwrite(key, _checked(value)))

    def update(self, key: str, value: bytes, revision: int) -> int:
        """Sets the value if `revision` is still the key's last; the new revision. Raises IntegrityError if not."""
        return self._connection.call(self._overwrite(key, _checked(value), revision))

    def delete(self, key: str, revision: int | None = None) -> None:
        """The key has no value from now on; a marker tells other clients so.

        With a `revision` only if that is still the key's last; raises IntegrityError if not.
        """
        self._connection.call(self._overwrite(key, b"", revision, _MARKER))

    def destroy(self, key: str) -> int:
        """Overwrites every revision of the key on disk; how many there were. Nothing of the value is left."""
        return self._connection.call(erase_subject(self._connection, self.stream, self._subject(key)), BULK_TIMEOUT_S)

    def _subject(self, key: str) -> str:
        if _KEY.match(key) is None:
            raise DataError(f"a key of bucket {self.name} has a character that is not allowed, or an empty part")
        return self._prefix + key

    async def _last(self, key: str) -> StoredMessage | None:
        return await get_message(self._connection, self.stream, last_by_subj=self._subject(key))

    async def _create_many(self, items: dict[str, bytes]) -> dict[str, bool]:
        """Atomic batches as long as all keys of one are new, which saves a sync a key; key by key otherwise."""
        keys = list(items)
        made: dict[str, bool] = {}
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            unsure = False
            if len(some) >= SMALL:
                messages = [(self._subject(key), items[key], 0) for key in some]
                try:
                    await publish_batch(self._connection, messages, self._connection.request_timeout_s)
                    made.update(dict.fromkeys(some, True))
                    continue
                except ApiError:
                    pass  # at least one key is there already
                except ConnectionLost:
                    unsure = True
                    await self._connection.wait_connected(self._connection.request_timeout_s)
            each = await pipelined(some, partial(self._create_one, items, unsure=unsure), IN_FLIGHT)
            made.update(zip(some, each, strict=True))
        return made

    async def _create_one(self, items: dict[str, bytes], key: str, *, unsure: bool) -> bool:
        """Creates over nothing or over a deletion marker; a lost answer (`unsure`) is settled by looking."""
        expected = 0
        for _ in range(ATTEMPTS):
            try:
                await self._publish(key, items[key], expected)
            except ConnectionLost:
                unsure = True
                await self._connection.wait_connected(self._connection.request_timeout_s)
            except IntegrityError:
                pass
            else:
                return True
            last = await self._last(key)
            if last is not None and last.body:
                return unsure and last.body == items[key]
            expected = 0 if last is None else last.seq
        raise OperationalError(f"bucket {self.name} did not confirm a new key")

    async def _overwrite(self, key: str, value: bytes, expected: int | None = None, header: bytes = b"") -> int:
        revision = await self._publish(key, value, expected, header)
        older = [m.seq async for m in scan_subject(self._connection, self.stream, self._subject(key))]
        await erase_messages(self._connection, self.stream, older[: -self._history])
        return revision

    async def _publish(self, key: str, value: bytes, expected: int | None, header: bytes = b"") -> int:
        try:
            timeout_s = self._connection.request_timeout_s
            subject = self._subject(key)
            return await publish_one(self._connection, subject, value, expected, timeout_s=timeout_s, header=header)
        except ApiError as error:
            if error.code in CONFLICTS:
                raise IntegrityError(f"another revision came first in bucket {self.name}") from None
            raise OperationalError(f"bucket {self.name} cannot store: {error.description}") from error


def _checked(value: bytes) -> bytes:
    if not value:
        raise DataError("a value must not be empty")
    return value


def _settings(stream: Stream, keep_s: int) -> dict[str, Any]:
    return durable_settings(
        stream,
        max_age=keep_s * 10**9,
        max_msgs_per_subject=64,  # what makes it a bucket for other clients; ours never gets that far
        allow_rollup_hdrs=True,
        deny_purge=False,
    )
