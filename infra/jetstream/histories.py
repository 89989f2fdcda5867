"""Whole histories of aggregates: from the quickest place that holds all this process knows of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from eventsourcing.persistence import StoredEvent

from infra.jetstream.connection import Connection
from infra.jetstream.heads import Head, Heads
from infra.jetstream.later import FAR_BEHIND, count, read_behind
from infra.jetstream.message import LedgerCorruptedError, decode, version_of
from infra.jetstream.pipeline import pipelined
from infra.jetstream.reader import LedgerReader
from infra.jetstream.replies import ConnectionLost
from infra.jetstream.select import read_all, read_behind_quickly, read_quickly
from infra.jetstream.stream import StoredMessage, Stream, get_message, recorded_at, scan_subject, state

READS_IN_FLIGHT = 16
LEADER_TRIES, LEADER_PAUSE_S = 10, 0.2
"""So often a leader is asked that holds less than was acknowledged: it may not know yet that it is none any more."""
LOG_MESSAGES_PER_S = 100_000
LEAST_S = 1.0
TIMEOUT_S = 3_600.0

History = list[tuple[StoredMessage, StoredEvent]]
"""An aggregate's events in order, with where and when the stream holds each."""


class Broken(NamedTuple):
    """Why a history is not to be had, and the last event of it, where that can be read."""

    why: LedgerCorruptedError
    last: tuple[StoredMessage, StoredEvent] | None


class HistoryReader:
    """Reads the events of aggregates. Safe for use by many threads.

    With `gaps` an aggregate's versions need only rise; else each follows the one before.
    """

    def __init__(self, connection: Connection, stream: Stream, heads: Heads, *, gaps: bool) -> None:
        self._connection = connection
        self._stream = stream
        self._heads = heads
        self._gaps = gaps

    def events(self, subject: str, gt: int | None, *, only_last: bool) -> list[StoredEvent]:
        """The events above version `gt` at least, or the last one; at least all that this process has stored.

        Raises LedgerCorruptedError when one of them is missing or not what its subject says.
        """
        messages = self._quickly(subject, gt, only_last=only_last)
        if messages is None:
            messages = self._connection.call(self._messages(subject, gt, only_last=only_last))
        return self._decode(subject, messages)

    def many(self, subjects: Sequence[str]) -> list[History | Broken]:
        """Each subject's history, all at once."""
        found = self._connection.call(self._histories(subjects), TIMEOUT_S)
        if found is None:
            found = self._sift(subjects)
        return [self._history(subject, messages) for subject, messages in zip(subjects, found, strict=True)]

    def go_on(self, subjects: Mapping[str, str], known: Mapping[str, History]) -> dict[str, History]:
        """The histories `known` by name, brought up to date; those that are not just gone on with are left out."""

        async def look(subject: str) -> History | None:
            return await self._gone_on(subject, known[subjects[subject]])

        found = self._connection.call(pipelined(subjects, look, READS_IN_FLIGHT), TIMEOUT_S)
        return {name: h for name, h in zip(subjects.values(), found, strict=True) if h is not None}

    def at(self, places: Mapping[str, Sequence[int]]) -> dict[str, History]:
        """The history on each subject, of which it is known where its events lie, up to date.

        The server then reads the blocks that hold them, and no other; without, it goes through all between the first
        and the last. Left out is what is not there, or longer than pays.
        """

        async def look(subject: str) -> History | None:
            seqs = places[subject]
            reads = (get_message(self._connection, self._stream, seq=seq) for seq in seqs)
            found = [m for m in await asyncio.gather(*reads) if m is not None and m.subject == subject]
            known = self._history(subject, found)
            if len(found) < len(seqs) or isinstance(known, Broken):
                return None
            return await self._gone_on(subject, known)

        few = [subject for subject, seqs in places.items() if 0 < len(seqs) <= FAR_BEHIND]
        found = self._connection.call(pipelined(few, look, READS_IN_FLIGHT), TIMEOUT_S)
        return {subject: history for subject, history in zip(few, found, strict=True) if history is not None}

    async def _gone_on(self, subject: str, known: History) -> History | None:
        last, event = known[-1]
        missing = await count(self._connection, self._stream, subject) - len(known)
        if not 0 <= missing <= FAR_BEHIND:
            return None
        behind: list[StoredMessage] = []
        if missing:
            behind = await read_behind(self._connection, self._stream, subject, last.seq, missing)
        if len(behind) < missing or not self._is_current(subject, behind, last.seq + 1):
            return None
        later = self._history(subject, behind)
        if isinstance(later, Broken) or (later and later[0][1].originator_version != event.originator_version + 1):
            return None
        return known + later

    def _history(self, subject: str, messages: list[StoredMessage]) -> History | Broken:
        try:
            return list(zip(messages, self._decode(subject, messages), strict=True))
        except LedgerCorruptedError as error:
            try:
                (last,) = self._decode(subject, messages[-1:])
            except LedgerCorruptedError:
                return Broken(error, None)
            return Broken(error, (messages[-1], last))

    def _quickly(self, subject: str, gt: int | None, *, only_last: bool) -> list[StoredMessage] | None:
        """An aggregate's messages from the caller's own thread, or None when that needs a closer look."""
        if only_last:
            return None
        start = self._start(subject, gt)
        try:
            with self._connection.lanes.lane() as lane:
                if start > 1:
                    messages = read_behind_quickly(lane, self._stream, subject, start)
                else:
                    messages = read_quickly(lane, self._stream, subject)
        except ConnectionLost:
            return None
        return messages if self._is_current(subject, messages, start) else None

    async def _messages(self, subject: str, gt: int | None = None, *, only_last: bool = False) -> list[StoredMessage]:
        if only_last:
            return await self._from_leader(subject, 1, only_last=True)
        start = self._start(subject, gt)
        messages = await read_all(self._connection, self._stream, subject) if start == 1 else None
        if messages is None or not self._is_current(subject, messages, start):
            messages = await self._from_leader(subject, start)
        return messages

    async def _from_leader(self, subject: str, start: int, *, only_last: bool = False) -> list[StoredMessage]:
        """What the leader holds.

        One that was cut off takes itself for the leader for a moment, and may hold less than this process knows of, as
        a replica may. Where it is the same after some tries, what is missing was removed.
        """
        for left in reversed(range(LEADER_TRIES if self._stream.replicas > 1 else 1)):
            if only_last:
                last = await get_message(self._connection, self._stream, last_by_subj=subject)
                messages = [] if last is None else [last]
            else:
                messages = [m async for m in scan_subject(self._connection, self._stream, subject, start)]
            if self._is_current(subject, messages, start):
                return messages
            await asyncio.sleep(LEADER_PAUSE_S if left else 0)
        self._heads.forget(subject)
        self._is_current(subject, messages, start)
        return messages

    def _start(self, subject: str, gt: int | None) -> int:
        """The seq from which on the versions above `gt` are certain to lie."""
        head = self._heads.known(subject)
        return head.seq + 1 if head is not None and gt is not None and 0 <= head.version <= gt else 1

    def _is_current(self, subject: str, messages: list[StoredMessage], start: int) -> bool:
        """Whether a read from `start` holds all that this process knows of; its end is remembered."""
        head = self._heads.known(subject)
        if head is not None and head.seq >= start and (not messages or messages[-1].seq < head.seq):
            return False
        if messages:
            last = messages[-1]
            with suppress(LedgerCorruptedError):  # then it is no head, and whoever decodes it says why
                self._heads.note(subject, Head(version_of(subject, last.seq, last.body), last.seq))
        return True

    async def _histories(self, subjects: Sequence[str]) -> list[list[StoredMessage]] | None:
        """Each subject's messages, or None when that takes longer than to read the whole log.

        One history costs from 0.4 ms to a second: the server goes through all blocks between its first and last event,
        and nobody knows which of them are in memory. So it is tried for as long as the log would take.
        """
        within_s = None
        if len(subjects) > READS_IN_FLIGHT:
            last_seq = (await state(self._connection, self._stream))["last_seq"]
            within_s = LEAST_S + last_seq / LOG_MESSAGES_PER_S
        try:
            return await asyncio.wait_for(pipelined(subjects, self._messages, READS_IN_FLIGHT), within_s)
        except TimeoutError:
            return None

    def _sift(self, subjects: Sequence[str]) -> list[list[StoredMessage]]:
        found: dict[str, list[StoredMessage]] = {subject: [] for subject in subjects}
        for batch in LedgerReader(self._connection, self._stream).read_batches(0, 5_000):
            for seq, time_ns, subject, body in batch:
                if subject in found:
                    found[subject].append(StoredMessage(seq, subject, body, recorded_at(time_ns)))
        return [found[subject] for subject in subjects]

    def _decode(self, subject: str, messages: list[StoredMessage]) -> list[StoredEvent]:
        events: list[StoredEvent] = []
        for message in messages:
            event = decode(self._stream.prefix, subject, message.seq, message.body)
            before = events[-1].originator_version if events else None
            version = event.originator_version
            if before is not None and version != before + 1 and not (self._gaps and version > before):
                raise LedgerCorruptedError(subject, message.seq, f"version {version} stands behind version {before}")
            events.append(event)
        return events
