"""Reading the log in order, fast: raw pull batches from a consumer of our own, renewed whenever it is in doubt.

A pull consumer's reply subject carries stream sequence and time, so nothing of a message needs parsing.
"""

from __future__ import annotations

from collections.abc import Iterator

from eventsourcing.persistence import OperationalError

from infra.jetstream.connection import Connection
from infra.jetstream.follower import Follower, PassedOver, RawMessage
from infra.jetstream.stream import Stream, get_message, state


class LedgerReader:
    """Reads a stream's messages in order, each once, over reconnects and restarts of the server.

    Sequence numbers may be missing (erased messages); messages never are.
    """

    def __init__(self, connection: Connection, stream: Stream, passed_over: PassedOver | None = None) -> None:
        """With `passed_over`, `follow` hands out what it answers where sequence numbers are missing."""
        self._connection = connection
        self._stream = stream
        self._passed_over = passed_over

    def last_seq(self) -> int:
        """The last sequence number the stream has given out; 0 while it is empty."""
        return int(self._connection.call(state(self._connection, self._stream))["last_seq"])

    def read_batches(
        self, after_seq: int = 0, limit: int = 2_000, *, stop_seq: int | None = None
    ) -> Iterator[list[RawMessage]]:
        """The messages after `after_seq` up to `stop_seq` (by default: the last one now), `limit` at a time.

        Raises OperationalError when the stream is not there, its end cannot be read, or the server stays away.
        """
        last = self._connection.call(
            get_message(self._connection, self._stream, last_by_subj=f"{self._stream.prefix}.>")
        )
        if last is None:
            if self._connection.call(state(self._connection, self._stream))["messages"]:
                raise OperationalError(f"the last message of {self._stream.name} cannot be read: the ledger is damaged")
            return
        stop_seq = last.seq if stop_seq is None else min(stop_seq, last.seq)
        if after_seq >= stop_seq:
            return
        with Follower(self._connection, self._stream, after_seq, limit, max_wait_s=1.0) as follower:
            silent = 0
            for batch in follower:
                silent = 0 if batch else silent + 1
                passed = bool(batch) and batch[-1].seq >= stop_seq
                while batch and batch[-1].seq > stop_seq:
                    batch.pop()
                if batch:
                    yield batch
                if passed:
                    return
                if silent > self._connection.request_timeout_s:
                    follower.complain()

    def follow(self, after_seq: int = 0, *, max_batch: int = 2_000, max_wait_s: float = 0.5) -> Follower:
        """All messages after `after_seq`, and those to come.

        Yields an empty list when there was nothing for `max_wait_s` (also while the server is away), so that the
        caller can look around. `stop()` on the result, from any thread, ends it at once.
        """
        return Follower(self._connection, self._stream, after_seq, max_batch, max_wait_s, self._passed_over)
