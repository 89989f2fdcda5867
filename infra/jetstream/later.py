"""What a subject holds behind a position that is known already, without reading what lies before it."""

from __future__ import annotations

from infra.jetstream.connection import Connection
from infra.jetstream.stream import StoredMessage, Stream, get_message, scan_subject

FAR_BEHIND = 100
"""Messages that are read one by one; for more it is quicker to read the whole history at once."""


async def count(connection: Connection, stream: Stream, subject: str) -> int:
    """How many messages the stream's leader holds on a literal subject.

    The server knows from memory; any read of a message makes it load a block of the log (8 MB, about 5 ms).
    """
    info = await connection.read_api(f"STREAM.INFO.{stream.name}", {"subjects_filter": subject})
    return int((info["state"].get("subjects") or {}).get(subject, 0))


async def read_behind(
    connection: Connection, stream: Stream, subject: str, seq: int, expected: int
) -> list[StoredMessage]:
    """The messages on a subject behind `seq`, from the leader; at least `expected` when that many are there."""
    if expected == 1:
        # Going forward from `seq` would load every block up to the message; the last one's block is known.
        last = await get_message(connection, stream, last_by_subj=subject)
        return [last] if last is not None and last.seq > seq else []
    return [message async for message in scan_subject(connection, stream, subject, seq + 1)]
