"""What comes back from the server, and what does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

NO_RESPONDERS = b"NATS/1.0 503"


class ConnectionLost(OperationalError):
    """The connection broke or did not answer in time, so whether the request took effect is unknown."""


class ApiError(OperationalError):
    """JetStream refused a request; `code` is its error number (such as 10071)."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"JetStream error {code}: {description}")
        self.code = code
        self.description = description


class Reply(NamedTuple):
    """An answer as it came: the body and the raw header block (None without headers)."""

    body: bytes
    header: bytes | None


def read_api_reply(body: bytes) -> dict[str, Any]:
    """The document of a JetStream answer. Raises ApiError when it is an error."""
    document: dict[str, Any] = orjson.loads(body)
    error = document.get("error")
    if error is not None:
        raise ApiError(error.get("err_code", error.get("code", 0)), error.get("description", ""))
    return document
