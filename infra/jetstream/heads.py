"""Where each aggregate's sequence ends: what an append expects to follow."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from infra.jetstream.connection import Connection
from infra.jetstream.message import version_of
from infra.jetstream.replies import ConnectionLost
from infra.jetstream.stream import Stream, get_message


class Head(NamedTuple):
    """The last event of a subject: its version and ledger seq. `EMPTY` when there is none."""

    version: int
    seq: int

    def precedes(self, version: int, *, gaps: bool) -> bool:
        """Whether `version` may follow: any where nothing is, else the next one, or with `gaps` any later one."""
        if self.seq == 0:
            return True
        return version > self.version if gaps else version == self.version + 1


EMPTY = Head(-1, 0)


class Heads:
    """The last known head of recently used subjects. Safe for use by many threads.

    A remembered head may be behind what other processes wrote. That is safe: the server checks the expectation made
    from it.
    """

    def __init__(self, connection: Connection, stream: Stream, size: int = 100_000) -> None:
        self._connection = connection
        self._stream = stream
        self._size = size
        self._known: OrderedDict[str, Head] = OrderedDict()
        self._lock = Lock()
        self.last_seq = 0
        """The highest ledger seq this process has seen."""

    def known(self, subject: str) -> Head | None:
        """What is remembered, without asking the server."""
        with self._lock:
            head = self._known.get(subject)
            if head is not None:
                self._known.move_to_end(subject)
            return head

    def note(self, subject: str, head: Head) -> None:
        """Remembers a head that was read or written, unless a later one is known."""
        with self._lock:
            known = self._known.get(subject)
            if known is None or head.seq >= known.seq:
                self._known[subject] = head
            self._known.move_to_end(subject)
            self.last_seq = max(self.last_seq, head.seq)
            if len(self._known) > self._size:
                self._known.popitem(last=False)

    def forget(self, subject: str) -> None:
        """The next append asks the server."""
        with self._lock:
            self._known.pop(subject, None)

    async def read(self, subject: str) -> Head:
        """The head as the stream's leader has it, remembered from now on.

        Raises ConnectionLost when, on a cluster, the leader has less than is known: it was deposed without noticing.
        """
        message = await get_message(self._connection, self._stream, last_by_subj=subject)
        head = EMPTY if message is None else Head(version_of(subject, message.seq, message.body), message.seq)
        known = self.known(subject)
        if self._stream.replicas > 1 and known is not None and head.seq < known.seq:
            raise ConnectionLost(f"the leader of {self._stream.name} is behind")
        self.forget(subject)
        self.note(subject, head)
        return head
