"""The ledger as its server hands it out: what it cannot read, it passes over without a word."""

from collections.abc import Iterator
from itertools import chain

from infra.jetstream import Connection, LedgerReader, RawMessage, Stream
from infra.jetstream.stream import get_message

SILENT_S = 1.0


def handed_out(
    connection: Connection, stream: Stream, after: int, until: int, max_batch: int = 10_000
) -> Iterator[RawMessage]:
    """Every message that can be read behind `after`, up to and with `until`, also when the last ones cannot.

    Raises OperationalError when the server stays away.
    """
    return chain.from_iterable(batches(connection, stream, after, until, max_batch))


def batches(
    connection: Connection, stream: Stream, after: int, until: int, max_batch: int = 10_000
) -> Iterator[list[RawMessage]]:
    """The same by up to `max_batch` messages, in order."""
    position, silent_s = after, 0.0
    with LedgerReader(connection, stream).follow(after, max_batch=max_batch, max_wait_s=SILENT_S) as follower:
        for batch in follower:
            position = batch[-1].seq if batch else position
            if position > until:
                yield [message for message in batch if message.seq <= until]
                return
            if batch:
                yield batch
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
