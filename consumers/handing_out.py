"""The ledger as its server hands it out: what it cannot read, it passes over without a word."""

from collections.abc import Iterator

from infra.jetstream import Connection, LedgerReader, RawMessage, Stream
from infra.jetstream.stream import get_message

SILENT_S = 1.0


def handed_out(
    connection: Connection, stream: Stream, after: int, until: int, max_batch: int = 10_000
) -> Iterator[RawMessage]:
    """Every message that can be read behind `after`, up to and with `until`, also when the last ones cannot.

    Raises OperationalError when the server stays away.
    """
    position, silent_s = after, 0.0
    with LedgerReader(connection, stream).follow(after, max_batch=max_batch, max_wait_s=SILENT_S) as follower:
        for batch in follower:
            for message in batch:
                if message.seq > until:
                    return
                position = message.seq
                yield message
            silent_s = 0.0 if batch else silent_s + SILENT_S
            if position >= until or (silent_s and not _is_more(connection, stream, position, until)):
                return
            if silent_s > connection.request_timeout_s:
                follower.complain()


def _is_more(connection: Connection, stream: Stream, position: int, until: int) -> bool:
    """Whether the stream's leader can read any message behind `position`."""
    query = {"seq": position + 1, "next_by_subj": f"{stream.prefix}.>"}
    found = connection.call(get_message(connection, stream, **query))
    return found is not None and found.seq <= until
