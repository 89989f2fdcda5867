"""Dead letters tried again: read from the ledger once more, and put into the views where they can be read now."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection

from consumers.decoding import table_of
from infra.crypto.keyring import Keyring
from infra.crypto.master import MasterKeyError
from infra.crypto.sealing import SealBrokenError
from infra.jetstream import Connection, RawMessage, Stream
from infra.jetstream.pipeline import pipelined
from infra.jetstream.stream import StoredMessage, get_message
from projections import Projector, sql

AT_ONCE = 1_000
"""Letters that go into the views in one transaction."""

READS_IN_FLIGHT = 16
LOST = (
    "the ledger does not hand it out any more; `rapport verify` names what is lost, `rapport restore` what can be done"
)
ALTERED = "the ledger holds other bytes than the mirror took from it; `rapport verify` compares the two"


class Outcome(NamedTuple):
    """What came of one event: `retried`, `waits` (still, and why), or `no-dead-letter` (nothing was to be done)."""

    seq: int
    status: Literal["retried", "waits", "no-dead-letter"]
    reason: str | None = None


class Letter(NamedTuple):
    """An event that cannot be used, as the mirror has it."""

    seq: int
    name: str
    body: bytes


def retry(
    connection: Connection, stream: Stream, projector: Projector, keyring: Keyring, seqs: Sequence[int] | None = None
) -> Iterator[Outcome]:
    """What comes of the dead letters at `seqs`, of all of them if None. May be repeated: what is in the views stays.

    Keys are looked up anew. Waits while views are being built. Raises OperationalError when the ledger is away.
    """
    with projector.build_lock:
        with projector.cursor() as cursor:
            letters = _letters(cursor, seqs)
        missing = set(seqs or ()) - {letter.seq for letter in letters}
        yield from (Outcome(seq, "no-dead-letter") for seq in sorted(missing))
        for first in range(0, len(letters), AT_ONCE):
            yield from _retry(connection, stream, projector, keyring, letters[first : first + AT_ONCE])


def waiting_events(cursor: DuckDBPyConnection) -> int:
    """How many events wait behind dead letters, the letters not counted."""
    count: int = sql.value(cursor, sql.load(__package__, "waiting.sql"))
    return count


def _letters(cursor: DuckDBPyConnection, seqs: Sequence[int] | None) -> list[Letter]:
    rows = cursor.execute(sql.load(__package__, "letters.sql"), {"seqs": None if seqs is None else list(seqs)})
    return [Letter(*row) for row in rows.fetchall()]


def _retry(
    connection: Connection, stream: Stream, projector: Projector, keyring: Keyring, letters: Sequence[Letter]
) -> list[Outcome]:
    async def read(letter: Letter) -> StoredMessage | None:
        return await get_message(connection, stream, seq=letter.seq)

    found = connection.call(pipelined(letters, read, READS_IN_FLIGHT))
    for name in {letter.name for letter in letters}:
        keyring.forget(name)
    reasons: dict[int, str] = {}
    messages = []
    for letter, message in zip(letters, found, strict=True):
        if message is None:
            reasons[letter.seq] = LOST
        elif message.body != letter.body:
            reasons[letter.seq] = ALTERED
        else:
            messages.append(RawMessage(message.seq, _time_ns(message.recorded_at), message.subject, message.body))
    for table in _tables(messages, keyring, reasons):
        broken = table.filter(pc.is_valid(table["problem"]))
        reasons |= zip(broken["seq"].to_pylist(), broken["problem"].to_pylist(), strict=True)
        if broken.num_rows < table.num_rows:
            projector.retry(table.filter(pc.is_null(table["problem"])))
    return [Outcome(seq, "waits", reasons[seq]) if seq in reasons else Outcome(seq, "retried") for seq, _, _ in letters]


def _tables(messages: Sequence[RawMessage], keyring: Keyring, reasons: dict[int, str]) -> Iterator[pa.Table]:
    """The messages as rows; one whose key cannot be opened gets its reason instead."""
    try:
        yield table_of(messages, keyring)
    except (SealBrokenError, MasterKeyError) as error:
        if len(messages) == 1:
            reasons[messages[0].seq] = f"its key cannot be opened: {error}"
            return
        for message in messages:
            yield from _tables([message], keyring, reasons)


def _time_ns(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1_000
