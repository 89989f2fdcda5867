"""States brought up to date: from what is at hand or kept, with only the events behind that read from the ledger."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain import candidate
from domain.candidate import Candidate, CandidateEvent
from infra import codec
from infra.crypto.keyring import Keyring
from infra.history import Closed, decoded, fold
from infra.jetstream import Connection, LedgerCorruptedError
from infra.jetstream.later import FAR_BEHIND, count, read_behind
from infra.jetstream.message import decode
from infra.jetstream.pipeline import pipelined
from infra.jetstream.stream import StoredMessage, Stream
from infra.jetstream.subjects import subject_of
from infra.snapshots import Sealed, Snapshots

IN_FLIGHT = 64
TIMEOUT_S = 3_600.0


class Advanced(NamedTuple):
    """A state up to date, and the ledger seq of the state that it was made from."""

    state: Candidate
    since: int


class _Look(NamedTuple):
    """What the server says of one candidate: how many events there are, a snapshot, and what lies behind that (or
    behind the state at hand)."""

    events: int
    sealed: Sealed | None
    behind: list[StoredMessage]


class Advancing:
    """Asks the ledger's leader for what lies behind known states. Safe to share between threads."""

    def __init__(self, connection: Connection, stream: Stream, keyring: Keyring, snapshots: Snapshots | None) -> None:
        self._connection = connection
        self._stream = stream
        self._keyring = keyring
        self._snapshots = snapshots

    def advance(self, ids: Sequence[str], held: Mapping[str, Candidate]) -> dict[str, Advanced]:
        """The states of those candidates that can be had without reading a whole history.

        Each rests on the state in `held`, on a snapshot, or on there being no event at all. It holds everything that
        the leader held when asked: versions have no gaps, so that the number of events tells. Where anything does not
        fit (a hole, events that are fewer than known or cannot be read), the candidate is left out.
        """
        names = {id_: codec.aggregate_id(candidate.KIND, id_) for id_ in ids}

        async def look(id_: str) -> _Look:
            return await self._look(names[id_], held.get(id_))

        looking = self._connection.begin(pipelined(ids, look, IN_FLIGHT), TIMEOUT_S)
        keys = self._keyring.existing(names.values())  # at the same time: each may cost the server a block
        found: dict[str, Advanced] = {}
        for id_, looked in zip(ids, looking(), strict=True):
            base = held.get(id_) or self._opened(id_, looked.sealed, keys.get(names[id_])) or Candidate(id_)
            state = self._continued(base, looked.behind, keys.get(names[id_])) if base.version else base
            if state is not None and state.version >= looked.events >= base.version:
                found[id_] = Advanced(state, base.seq)
        return found

    async def _look(self, name: str, held: Candidate | None) -> _Look:
        subject = subject_of(self._stream.prefix, name)
        counting = count(self._connection, self._stream, subject)
        if held is not None or self._snapshots is None:
            events, sealed = await counting, None
        else:
            events, sealed = await asyncio.gather(counting, self._snapshots.fetch(name))
        base = held or sealed
        missing = events - base.version if base is not None else 0
        if base is None or not 0 < missing <= FAR_BEHIND:
            return _Look(events, sealed, [])
        return _Look(events, sealed, await read_behind(self._connection, self._stream, subject, base.seq, missing))

    def _opened(self, id_: str, sealed: Sealed | None, key: bytes | None) -> Candidate | None:
        if self._snapshots is None or sealed is None or key is None:
            return None
        return self._snapshots.open(id_, sealed, key)

    def _continued(self, base: Candidate, messages: Sequence[StoredMessage], key: bytes | None) -> Candidate | None:
        """`base` and the events behind it; None when these do not follow it or cannot be read."""
        name = codec.aggregate_id(candidate.KIND, base.id)
        try:
            behind = [(m, decode(self._stream.prefix, m.subject, m.seq, m.body)) for m in messages]
        except LedgerCorruptedError:
            return None
        history = decoded(name, behind, key, CandidateEvent)
        if isinstance(history, Closed):
            return None
        if any(r.version != base.version + n for n, r in enumerate(history, 1)):
            return None
        return fold(base, history)
