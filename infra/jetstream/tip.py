"""Whether the ledger is still the one it was when something was derived from it."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import orjson
from eventsourcing.persistence import OperationalError

from infra.jetstream.batch import CONFLICTS, publish_one
from infra.jetstream.connection import Connection
from infra.jetstream.replies import ApiError
from infra.jetstream.stream import Stream, get_message

ATTEMPTS = 5


class _Found(NamedTuple):
    revision: int
    seq: int
    fits: bool


class Tip:
    """A message of the ledger, named by position and hash in another stream, beside what was derived from the ledger.

    As long as the ledger holds that message, nothing before it was lost from its end and written anew: positions are
    given out in order, and every event is sealed with a nonce of its own. One message to look at thus vouches for all
    that was derived up to there. It is looked at again after the connection broke. Its coroutines run on the
    connection's loop.
    """

    def __init__(self, connection: Connection, ledger: Stream, beside: Stream) -> None:
        self._connection = connection
        self._ledger = ledger
        self._beside = beside
        self._subject = f"{beside.prefix}.tip"
        self._proved = 0
        connection.on_break.add(self.doubt)

    def doubt(self) -> None:
        """The next question looks at the ledger."""
        self._proved = 0

    async def covers(self, seq: int) -> bool:
        """Whether what was derived from the ledger up to `seq` belongs to what the ledger holds now."""
        if seq > self._proved:
            await self._look()
        return seq <= self._proved

    async def advance(self, seq: int) -> bool:
        """From now on covers what is derived up to `seq`; False when the ledger holds no message there.

        A tip that the ledger does not hold belongs to another history, as does all that lies beside it; that goes.
        Raises OperationalError when the server does not store.
        """
        for _ in range(ATTEMPTS):
            found = await self._look()
            if found.fits and found.seq >= seq:
                return True
            message = await get_message(self._connection, self._ledger, seq=seq)
            if message is None:
                return False
            if found.seq and not found.fits:
                await self._connection.api(f"STREAM.PURGE.{self._beside.name}")
                found = _Found(0, 0, fits=False)
            body = orjson.dumps({"seq": seq, "sha256": hashlib.sha256(message.body).hexdigest()})
            timeout_s = self._connection.request_timeout_s
            try:
                await publish_one(self._connection, self._subject, body, found.revision, timeout_s=timeout_s)
            except ApiError as error:
                if error.code not in CONFLICTS:
                    raise
            else:
                self._proved = seq
                return True
        raise OperationalError(f"others kept writing to {self._beside.name}")

    async def _look(self) -> _Found:
        kept = await get_message(self._connection, self._beside, last_by_subj=self._subject)
        if kept is None:
            return _Found(0, 0, fits=False)
        tip = orjson.loads(kept.body)
        message = await get_message(self._connection, self._ledger, seq=tip["seq"])
        fits = message is not None and hashlib.sha256(message.body).hexdigest() == tip["sha256"]
        self._proved = tip["seq"] if fits else 0
        return _Found(kept.seq, tip["seq"], fits)
