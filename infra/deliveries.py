"""What became of the last deliveries of webhooks to each subscriber: times, positions and answers, and no bodies.

A stream beside the feed, of which the server keeps the last so many a subscriber; so every node shows the same.
"""

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from domain.event import UtcDatetime
from infra.jetstream import Connection
from infra.jetstream.batch import publish_one
from infra.jetstream.select import page_request, read_as
from infra.jetstream.stream import Stream, durable_settings, ensure

KEPT = 100


class Delivery(BaseModel):
    """One attempt. Without a `status` there was no answer, and `failure` says why not."""

    model_config = ConfigDict(frozen=True)

    at: UtcDatetime
    position: int
    id: str
    attempt: int
    status: int | None = None
    failure: str | None = None
    duration_ms: float
    again_in_s: float | None = None
    """When it is tried again; None when it need not be, or will not."""

    @property
    def is_taken(self) -> bool:
        """Whether the subscriber has it now."""
        return self.status is not None and 200 <= self.status < 300


class Deliveries:
    """The last `KEPT` of each subscriber of a feed. All methods raise OperationalError."""

    def __init__(self, connection: Connection, feed: Stream, replicas: int = 1) -> None:
        self._connection = connection
        self._stream = Stream(f"{feed.name}_DELIVERIES", f"{feed.prefix}_deliveries", replicas)
        own = {"max_msgs_per_subject": KEPT, "discard": "old", "allow_rollup_hdrs": False, "deny_purge": False}
        connection.call(ensure(connection, self._stream, durable_settings(self._stream, **own)))

    async def note(self, name: str, delivery: Delivery) -> None:
        """Keeps it. To be awaited on the connection's loop."""
        body = orjson.dumps(delivery.model_dump(mode="json", exclude_none=True))
        timeout_s = self._connection.request_timeout_s
        await publish_one(self._connection, self._subject(name), body, None, timeout_s=timeout_s)

    def last(self, name: str, count: int = KEPT) -> list[Delivery]:
        """The last `count`, oldest first."""
        request = page_request(self._stream, self._subject(name), 1, KEPT + 1)
        found, _ = self._connection.call(read_as(self._connection, self._stream, request, _read))
        return found[-count:]

    def forget(self, name: str) -> None:
        """Removes those of a subscriber that is none any more."""
        request: dict[str, Any] = {"filter": self._subject(name)}
        self._connection.call(self._connection.api(f"STREAM.PURGE.{self._stream.name}", request))

    def _subject(self, name: str) -> str:
        return f"{self._stream.prefix}.{name}"


def _read(buffer: bytes, _header: int, body: int, end: int) -> Delivery:
    return Delivery.model_validate_json(buffer[body:end])
